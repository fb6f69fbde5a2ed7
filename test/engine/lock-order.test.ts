/*
 * The order of locks (ARCHITECTURE.md): pairs of commands from two monitors, with a guest that writes all the while, on
 * storage whose every request waits. Taken backwards anywhere, two of them would wait for each other for ever.
 */
import { describe, expect, it } from 'vitest';
import { delayed } from '../../src/core/storage/faulty.ts';
import type { JsonObject } from '../../src/core/util/json.ts';
import { createImage } from '../../src/engine/create.ts';
import { Machine } from '../../src/machine/machine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { memoryEngine } from '../support/memory-engine.ts';

const size = 1 << 20;
/** Far more turns of the event loop than any of the pairs takes. */
const patience = 20_000;

const command = (execute: string, given: JsonObject = {}): JsonObject => ({ execute, arguments: given });
const backup = (job: string, target: string): JsonObject => ({ device: 'disk', target, sync: 'full', 'job-id': job });

const commands: Readonly<Record<string, JsonObject>> = {
  'an overlay is added': command('blockdev-add', { driver: 'qcow2', 'node-name': 'over', file: { driver: 'file', filename: 'over' }, backing: 'disk' }),
  'a node is deleted': command('blockdev-del', { 'node-name': 'spare' }),
  'a backup starts': command('blockdev-backup', backup('j', 'target')),
  'a running backup is cancelled': command('block-job-cancel', { device: 'old', force: true }),
  'a running backup is paused': command('job-pause', { id: 'old' }),
  'two backups start at once': command('transaction', {
    actions: [
      { type: 'blockdev-backup', data: backup('a', 'target') },
      { type: 'blockdev-backup', data: { ...backup('b', 'spare'), device: 'second' } },
    ],
  }),
  'a transaction is aborted': command('transaction', {
    actions: [
      { type: 'blockdev-backup', data: backup('c', 'target') },
      { type: 'abort', data: {} },
    ],
  }),
  'a node is resized': command('block_resize', { 'node-name': 'spare', size: 2 * size }),
  'a bitmap is begun': command('block-dirty-bitmap-add', { node: 'disk', name: 'b' }),
  'the drive goes': command('human-monitor-command', { 'command-line': 'drive_del hd' }),
  'the nodes are looked at': command('query-named-block-nodes'),
};

/** Settles when `work` has, or tells that it still waits after many turns of the event loop. */
async function within(work: Promise<unknown>): Promise<string> {
  let isOver = false;
  void work.then(
    () => (isOver = true),
    () => (isOver = true),
  );
  for (let turn = 0; turn < patience && !isOver; turn++) await new Promise((resolve) => setImmediate(resolve));
  return isOver ? 'settled' : 'waits for ever';
}

async function play(first: JsonObject, second: JsonObject): Promise<string[]> {
  const { engine } = memoryEngine((storage) => delayed(storage));
  for (const name of ['disk', 'second', 'target', 'spare', 'old', 'over']) await createImage(engine, 'qcow2', name, { size });
  const machine = new Machine(engine);
  engine.machine = machine;
  const disk = await engine.opener.openImage({ filename: 'disk', format: 'qcow2', options: { 'node-name': 'disk', 'read-only': false } });
  await machine.addDisk('hd', disk);
  for (const name of ['second', 'target', 'spare', 'old']) {
    await engine.addNode({ driver: 'qcow2', 'node-name': name, file: { driver: 'file', filename: name } });
  }
  const monitor = new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit: () => {}, print: () => {} });
  const sessions = [monitor.openSession({ isNegotiated: true }), monitor.openSession({ isNegotiated: true })];
  await sessions[0]?.execute(command('blockdev-backup', { device: 'second', target: 'old', sync: 'none', 'job-id': 'old' }));
  const guest = machine.run('hd', { kind: 'mixed', seed: 1, depth: 4 });
  await new Promise((resolve) => setImmediate(resolve));
  const outcome = await Promise.all([first, second].map((message, index) => within(sessions[index]?.execute(message) ?? Promise.resolve())));
  outcome.push(await within(guest.stop()));
  outcome.push(await within(engine.close()));
  return outcome;
}

const names = Object.keys(commands);
const pairs = names.flatMap((a, index) => names.slice(index).map((b) => [a, b] as const));

describe('two commands at once beside a guest that writes', () => {
  it.each(pairs)('%s, %s', async (a, b) => {
    for (const [first, second] of [
      [a, b],
      [b, a],
    ] as const) {
      const outcome = await play(commands[first] ?? {}, commands[second] ?? {});
      expect(outcome).toEqual(['settled', 'settled', 'settled', 'settled']);
    }
  });
});
