/* The NBD server and exports, in today's commands and in the deprecated ones. */
import { listOf, optional, str, struct } from '../../core/util/schema.ts';
import { addDeviceExport, addExport, nbdAddress, startNbdServer } from '../../engine/ops/exports.ts';
import { type AnyCommand, defineCommand, noArguments } from '../command.ts';
import { blockExportOptions, nbdServerAdd, nbdServerOptionsLegacy, removeMode } from '../types/block.ts';
import { blockExportInfo } from '../types/results.ts';

export const nbdCommands: readonly AnyCommand[] = [
  defineCommand({
    name: 'nbd-server-start',
    summary: 'Start the NBD server',
    args: nbdServerOptionsLegacy,
    guards: [],
    run: (args, { engine }) => startNbdServer(engine, { ...args, addr: nbdAddress({ type: args.addr.type, ...(args.addr.data as object) }) }),
  }),
  defineCommand({
    name: 'nbd-server-stop',
    summary: 'Stop the NBD server and delete its exports',
    args: noArguments,
    guards: [],
    run: (_args, { engine }) => engine.exports.stopServer(),
  }),
  defineCommand({
    name: 'nbd-server-add',
    summary: 'Export a node over NBD',
    args: nbdServerAdd,
    guards: [],
    deprecated: true,
    today: 'block-export-add',
    run: async (args, { engine }) => {
      await addDeviceExport(engine, { ...args, writable: args.writable ?? false });
    },
  }),
  defineCommand({
    name: 'nbd-server-remove',
    summary: 'Delete an NBD export',
    args: struct({ name: str, mode: optional(removeMode) }),
    guards: [],
    deprecated: true,
    today: 'block-export-del',
    run: (args, { engine }) => engine.exports.remove(args.name, args.mode ?? 'safe'),
  }),
  defineCommand({
    name: 'block-export-add',
    summary: 'Export a node',
    args: blockExportOptions,
    guards: [],
    run: async (args, { engine }) => {
      await addExport(engine, args);
    },
  }),
  defineCommand({
    name: 'block-export-del',
    summary: 'Delete an export',
    args: struct({ id: str, mode: optional(removeMode) }),
    guards: [],
    run: (args, { engine }) => engine.exports.remove(args.id, args.mode ?? 'safe'),
  }),
  defineCommand({
    name: 'query-block-exports',
    summary: 'List exports',
    args: noArguments,
    returns: listOf(blockExportInfo),
    guards: [],
    run: (_args, { engine }) =>
      engine.exports.list().map((entry) => ({ id: entry.id, type: entry.type, 'node-name': entry.node.name, 'shutting-down': entry.isShuttingDown })),
  }),
];
