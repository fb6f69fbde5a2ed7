/*
 * Guards: which operation blocker a command respects on which node stands in its definition, for help and documents. Here
 * the definitions are held against what the commands do: each guard is reached, and no blocker is checked that none declares.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blockOps } from '../../src/core/block/op-blockers.ts';
import type { JsonObject } from '../../src/core/util/json.ts';
import { describeMembers } from '../../src/core/util/schema-describe.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Machine } from '../../src/machine/machine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { projectRoot } from '../support/run.ts';

/** Arguments that would let each guarded command do its work; the guarded argument names the node `one`, or
 *  the drive `drive` on the node `three`. */
const argumentsOf: Readonly<Record<string, JsonObject>> = {
  'blockdev-del node-name': { 'node-name': 'one' },
  'drive_del id': { id: 'one' },
  'block_resize device': { device: 'drive', size: 1048576 },
  'block_resize node-name': { 'node-name': 'one', size: 1048576 },
  'blockdev-backup device': { 'job-id': 'j', device: 'one', target: 'two', sync: 'none' },
  'blockdev-backup target': { 'job-id': 'j', device: 'two', target: 'one', sync: 'none' },
};

/** Declared as QEMU has it, and behind another check that always comes first here. */
const outOfReach: Readonly<Record<string, string>> = {
  'eject device': 'disks of the machine are not removable, which is told first',
};

/** Commands whose arguments name nodes, devices or jobs and that no operation blocker stops. */
const unguarded = [
  // nodes: permissions decide
  'block-export-add',
  'nbd-server-add',
  'qom-get',
  'qom-set',
  // a new node; what it lies on is guarded by permissions
  'blockdev-add',
  // dirty bitmaps: busy ones are refused by themselves
  'block-dirty-bitmap-add',
  'block-dirty-bitmap-clear',
  'block-dirty-bitmap-disable',
  'block-dirty-bitmap-enable',
  'block-dirty-bitmap-merge',
  'block-dirty-bitmap-remove',
  // `device` is a job's name
  'block-job-cancel',
  'block-job-complete',
  'block-job-pause',
  'block-job-resume',
  'block-job-set-speed',
];

const namesNodes = /^(?:device|node-name|node|target|replaces|overlay|path|base|top)$/;
const guards = allCommands.flatMap((command) => command.guards.map((guard) => ({ ...guard, command })));

describe('guards', () => {
  it('name an argument of their command and an operation', () => {
    for (const { arg, op, command } of guards) {
      expect(
        describeMembers(command.args).map(({ name }) => name),
        command.name,
      ).toContain(arg);
      expect(blockOps).toContain(op);
    }
    expect(guards.length).toBeGreaterThan(5);
  });

  it.each(guards.filter(({ arg, command }) => outOfReach[`${command.name} ${arg}`] === undefined))(
    '$command.name respects a blocker of $op on the node that $arg names',
    async ({ arg, op, command }) => {
      const args = argumentsOf[`${command.name} ${arg}`];
      if (args === undefined) throw new Error(`the test has no arguments for ${command.name} ${arg}`);
      await using engine = new Engine();
      engine.machine = new Machine(engine);
      const session = new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit: () => {} }).openSession({ isNegotiated: true });
      for (const name of ['one', 'two']) {
        expect(await session.execute({ execute: 'blockdev-add', arguments: { driver: 'null-co', 'node-name': name, size: 1048576 } })).toEqual({ return: {} });
      }
      await engine.machine.addDisk('drive', await engine.opener.openNode({ driver: 'null-co', 'node-name': 'three', size: 1048576 }));
      const [node, shownName] = args[arg] === 'drive' ? ['three', 'drive'] : ['one', 'one'];
      using blocker = engine.graph.find(node)?.blockers.block(op, 'the test wants it so', 'test');
      expect(blocker).toBeDefined();
      const reply = await session.execute({ execute: command.name, arguments: args });
      expect(reply).toEqual({ error: { class: 'GenericError', desc: `Node '${shownName}' is busy: the test wants it so` } });
    },
  );

  it('are declared for every operation that is checked somewhere', () => {
    const folder = join(projectRoot, 'src', 'engine', 'ops');
    const text = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
    const checked = text.flatMap((source) => [...source.matchAll(/blockers\.check\('([\w-]+)'\)/g)].map((match) => match[1] ?? ''));
    const declared = guards.map(({ op }) => op);
    expect([...new Set(checked)].sort()).toEqual([...new Set(declared)].sort());
  });

  it('are missing only where that is known', () => {
    const found = allCommands.filter(
      ({ name, args, guards: own }) => own.length === 0 && !name.startsWith('query-') && describeMembers(args).some((member) => namesNodes.test(member.name)),
    );
    expect(found.map(({ name }) => name).sort()).toEqual([...unguarded].sort());
  });
});
