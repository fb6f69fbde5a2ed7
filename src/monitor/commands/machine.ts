/* Commands of the machine itself; a storage daemon has only `quit`. */

import { BlockError } from '../../core/util/errors.ts';
import { any, bool, deprecated, int64, optional, str, struct } from '../../core/util/schema.ts';
import { ejectMedium, getProperty, setProperty } from '../../engine/ops/drives.ts';
import { type AnyCommand, defineCommand, noArguments } from '../command.ts';
import { runHmp } from '../hmp.ts';
import { statusInfo } from '../types/results.ts';

export const machineCommands: readonly AnyCommand[] = [
  defineCommand({
    name: 'quit',
    summary: 'End, with exports closed and jobs cancelled',
    args: noArguments,
    guards: [],
    run: (_args, { monitor }) => monitor.quit(),
  }),
  defineCommand({
    name: 'query-status',
    summary: 'Run state of the machine',
    args: noArguments,
    returns: statusInfo,
    guards: [],
    machineOnly: true,
    run: (_args, { engine }) => ({ running: engine.machine?.runState === 'running', status: engine.machine?.runState ?? 'running' }),
  }),
  defineCommand({
    name: 'stop',
    summary: 'Stop the guest',
    args: noArguments,
    guards: [],
    machineOnly: true,
    run: (_args, { engine }) => engine.machine?.stop(),
  }),
  defineCommand({
    name: 'cont',
    summary: 'Let the guest run on',
    args: noArguments,
    guards: [],
    machineOnly: true,
    run: (_args, { engine }) => engine.machine?.cont(),
  }),
  defineCommand({
    name: 'human-monitor-command',
    summary: 'Run a line of the human monitor',
    args: struct({ 'command-line': str, 'cpu-index': optional(int64) }),
    returns: str,
    guards: [],
    machineOnly: true,
    run: (args, context) => {
      if (args['cpu-index'] !== undefined && args['cpu-index'] !== 0)
        throw new BlockError("Parameter 'cpu-index' expects a CPU number", { code: 'ERR_OPTION' });
      return runHmp(args['command-line'], context);
    },
  }),
  defineCommand({
    name: 'eject',
    summary: 'Eject a medium',
    args: struct({ device: deprecated(optional(str)), id: optional(str), force: optional(bool) }),
    guards: [{ arg: 'device', op: 'eject' }],
    machineOnly: true,
    run: (args, { engine }) => ejectMedium(engine, args),
  }),
  defineCommand({
    name: 'qom-set',
    summary: "Set a property: `limits` of a throttle group; a disk's `drive` moves it onto another node",
    args: struct({ path: str, property: str, value: any }),
    guards: [],
    run: (args, { engine }) => setProperty(engine, args.path, args.property, args.value),
  }),
  defineCommand({
    name: 'qom-get',
    summary: 'Tell a property of a device or an object',
    args: struct({ path: str, property: str }),
    returns: any,
    guards: [],
    run: (args, { engine }) => getProperty(engine, args.path, args.property),
  }),
];
