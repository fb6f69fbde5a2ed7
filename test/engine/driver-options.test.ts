/* The tables of drivers' options: every driver reads what its table has and no more, and everything told of options comes from it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type DriverOption, findOption, membersOf } from '../../src/core/block/driver-options.ts';
import { OptionReader, type OptionTree } from '../../src/core/block/options.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Json } from '../../src/core/util/json.ts';
import { branchFields, fieldsOf } from '../../src/core/util/schema.ts';
import { createImage } from '../../src/engine/create.ts';
import { driverEntries } from '../../src/engine/drivers.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { blockdevOptions } from '../../src/monitor/types/blockdev.ts';
import { memoryEngine } from '../support/memory-engine.ts';
import { projectRoot } from '../support/run.ts';
import { addThrottleGroup } from '../support/throttle-group.ts';
import { makeVault, vaultSecret } from '../support/vault.ts';

let engine: Engine | undefined;
afterEach(async () => {
  await engine?.close();
  engine = undefined;
});

const file = (filename: string): OptionTree => ({ driver: 'file', filename });
const cbw: OptionTree = { driver: 'copy-before-write', file: { driver: 'raw', file: file('a') }, target: { driver: 'raw', file: file('b') } };
/** Options with which each driver opens over the media a, b (raw) and q (qcow2). */
const opened: Readonly<Record<string, OptionTree>> = {
  file: file('a'),
  'null-co': { driver: 'null-co' },
  'null-aio': { driver: 'null-aio' },
  raw: { driver: 'raw', file: file('a') },
  qcow2: { driver: 'qcow2', file: file('q') },
  'copy-before-write': cbw,
  'snapshot-access': { driver: 'snapshot-access', file: { ...cbw, 'node-name': 'cbw' } },
  luks: { driver: 'luks', 'key-secret': vaultSecret, file: file('v') },
  'copy-on-read': { driver: 'copy-on-read', file: { driver: 'qcow2', 'node-name': 'b', file: file('q') } },
  blkdebug: { driver: 'blkdebug', image: file('a') },
  blkverify: { driver: 'blkverify', test: file('a'), raw: file('b') },
  quorum: { driver: 'quorum', 'vote-threshold': 1, children: [file('a'), file('b')] as Json[] },
  blklogwrites: { driver: 'blklogwrites', file: file('a'), log: file('b') },
  compress: { driver: 'compress', file: { driver: 'qcow2', file: file('q') } },
  throttle: { driver: 'throttle', 'throttle-group': 'g', file: file('a') },
  preallocate: { driver: 'preallocate', file: file('a') },
};

async function open(options: OptionTree) {
  const made = memoryEngine();
  engine = made.engine;
  for (const name of ['a', 'b']) made.media.set(name, new MemoryStorage(name, { size: 1024 * 1024 }));
  await createImage(engine, 'qcow2', 'q', { size: 1024 * 1024 });
  addThrottleGroup(engine, 'g');
  await makeVault(engine, 'v', { size: 1024 * 1024 });
  return engine.addNode({ ...options, 'node-name': 'top' });
}

describe.each(driverEntries)('options of $name', ({ name, options }) => {
  it('are a table that can be looked up by dotted names', () => {
    for (const option of options.own) {
      expect(findOption(options.own, option.name)).toBe(option);
      for (const member of membersOf(option.type)) expect(findOption(options.own, `${option.name}.${member.name}`)?.name).toBe(member.name);
      expect(option.help).toMatch(/^[a-z].*[^.]$/);
    }
    expect(findOption(options.own, 'nonsense')).toBeUndefined();
    expect(findOption(options.own, 'filename.nonsense')).toBeUndefined();
  });

  it('are those that blockdev-add takes, with their help', () => {
    const { node } = blockdevOptions.node.kind === 'lazy' ? blockdevOptions.node.resolve() : blockdevOptions;
    const branch = node.kind === 'union' ? node.branches()[name] : undefined;
    const below = { protocol: [], format: ['file'], 'cow format': ['file', 'backing'] }[options.base];
    const fields = branch === undefined ? {} : branchFields(branch);
    expect(Object.keys(fields).sort()).toEqual([...below, ...options.own.map((option) => option.name)].sort());
    for (const option of options.own) {
      expect(fields[option.name]?.text).toBe(option.help);
      expect('optional' in (fields[option.name] ?? {})).toBe(option.isRequired !== true);
    }
    if (branch !== undefined && options.type !== undefined) expect(Object.keys(fieldsOf(branch as never)).length).toBeGreaterThan(0);
  });

  it('stay with the node as they were read, defaults among them', async () => {
    // a device of the host is not to be had here; what is read is the table of file
    if (name === 'host_device' || name === 'host_cdrom') return expect(options).toBe(driverEntries.find((entry) => entry.name === 'file')?.options);
    const given = opened[name];
    if (given === undefined) throw new Error('the test has no options for it');
    const node = await open(given);
    expect(Object.isFrozen(node.options)).toBe(true);
    const simple = options.own.filter((option): option is DriverOption & { default: string | number | boolean } => option.default !== undefined);
    for (const option of simple) expect(node.options).toHaveProperty([option.name], option.default);
    if ('filename' in given) expect(node.options).toMatchObject({ filename: given['filename'] });
  });

  it('stand in the manual', () => {
    const page = readFileSync(join(projectRoot, 'man', 'tsqmp.1'), 'utf8');
    const section = new RegExp(`^\\.Ss Driver ${name}\\n([^]*?)(?=^\\.S[sh] )`, 'm').exec(page)?.[1] ?? '';
    const told = [...section.matchAll(/^\.It Cm (\S+)\n(.*)$/gm)].map((match) => [match[1], match[2]]);
    expect(told).toEqual(options.own.map((option) => [option.name, `${(option.help[0] ?? '').toUpperCase()}${option.help.slice(1)}.`]));
  });
});

describe('a reader', () => {
  const table: readonly DriverOption[] = [
    { name: 'flag', type: 'bool', default: true, help: 'a flag' },
    { name: 'mode', type: { enum: 'Mode', values: ['a', 'b'] }, default: 'b', help: 'a mode' },
    { name: 'place', type: 'size', isStrong: true, help: 'a place' },
  ];
  const reader = (tree: OptionTree): OptionReader => {
    const made = new OptionReader(tree);
    made.useTable(table);
    return made;
  };

  it('takes defaults from the table, and what is given before them', () => {
    expect(reader({}).bool('flag')).toBe(true);
    expect(reader({ flag: 'off' }).bool('flag')).toBe(false);
    expect(reader({}).enum('mode', ['a', 'b'] as const)).toBe('b');
    expect(reader({ mode: 'a' }).enum('mode', ['a', 'b'] as const)).toBe('a');
    expect(() => reader({ mode: 'c' }).enum('mode', ['a', 'b'] as const)).toThrow('invalid parameter value: c');
  });

  it('reads nothing that the table has not', () => {
    expect(() => reader({}).string('other')).toThrow("option 'other' is not in the driver's table");
  });

  it('tells strong options as they were given, also when they were taken', () => {
    const one = reader({ place: '1k', flag: false });
    expect(one.size('place')).toBe(1024);
    expect(one.strong()).toEqual({ place: '1k' });
    expect(one.values()).toEqual({ place: 1024 });
    expect(reader({ flag: true }).strong()).toBeUndefined();
  });
});
