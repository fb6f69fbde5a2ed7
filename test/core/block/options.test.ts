/* Options while a node opens: what is read as what, what is left, filenames in all their forms. */
import { describe, expect, it } from 'vitest';
import { driverNames } from '../../../src/core/block/driver-names.ts';
import {
  asTree,
  combineFilename,
  type FilenameContext,
  fileOptions,
  hasProtocol,
  mergeOptions,
  OptionReader,
  type OptionTree,
  optionsOfFilename,
  protocolOptions,
  stripProtocol,
} from '../../../src/core/block/options.ts';
import { checkSettings, readSettings, settingNames, topInherited } from '../../../src/core/block/settings.ts';
import { driverEntries } from '../../../src/engine/drivers.ts';

/** What `body` throws, as code and text. */
function refusal(body: () => unknown): string | undefined {
  try {
    body();
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    return `${String(code)}: ${message}`;
  }
  return undefined;
}

const read = (tree: OptionTree): OptionReader => new OptionReader(tree);

describe('options that are read', () => {
  it('are yes or no in the words of command lines and of QMP', () => {
    for (const yes of [true, 'on', 'yes', 'true', 'y']) expect(read({ a: yes }).bool('a')).toBe(true);
    for (const no of [false, 'off', 'no', 'false', 'n']) expect(read({ a: no }).bool('a', true)).toBe(false);
    expect([read({}).bool('a'), read({}).bool('a', true)]).toEqual([false, true]);
    for (const other of ['maybe', 'ON', '', 1]) expect(refusal(() => read({ a: other }).bool('a'))).toBe("ERR_OPTION: Parameter 'a' expects 'on' or 'off'");
  });

  it('are texts, also where a number was given', () => {
    expect([read({ a: 'x' }).string('a'), read({ a: 5 }).string('a'), read({ a: true }).string('a')]).toEqual(['x', '5', 'true']);
    expect([read({ a: null }).string('a'), read({}).string('a')]).toEqual([undefined, undefined]);
    expect(refusal(() => read({ a: { b: 1 } }).string('a'))).toBe("ERR_OPTION: Invalid parameter type for 'a', expected: string");
  });

  it('are sizes and numbers, exactly or up to the largest that is safe', () => {
    expect([read({ a: '64k' }).size('a'), read({ a: 4096 }).size('a'), read({ a: null }).size('a'), read({}).size('a')]).toEqual([
      65536,
      4096,
      undefined,
      undefined,
    ]);
    expect(read({ a: 2n ** 60n }).bytes('a')).toBe(2n ** 60n);
    expect(read({ a: 2n ** 60n }).size('a')).toBe(Number.MAX_SAFE_INTEGER);
    expect([read({ a: '12' }).number('a'), read({ a: 12 }).number('a'), read({ a: null }).number('a'), read({}).number('a')]).toEqual([
      12,
      12,
      undefined,
      undefined,
    ]);
    for (const wrong of ['12x', true, { b: 1 }]) {
      expect(refusal(() => read({ a: wrong }).number('a'))).toBeDefined();
      expect(refusal(() => read({ a: wrong }).size('a'))).toBeDefined();
    }
  });

  it('are one of the words that there are', () => {
    expect([read({ a: 'two' }).enum('a', ['one', 'two']), read({}).enum('a', ['one', 'two'], 'one')]).toEqual(['two', 'one']);
    expect(refusal(() => read({ a: 'three' }).enum('a', ['one', 'two']))).toBe('ERR_OPTION: invalid parameter value: three');
    expect(refusal(() => read({}).enum('a', ['one']))).toBe('ERR_OPTION: invalid parameter value: undefined');
  });

  it('are kept with what they were read as', () => {
    const reader = read({ a: 'on', b: '4k', c: { d: 'x' } });
    reader.bool('a');
    reader.size('b');
    reader.string('c.d');
    reader.bool('e', true);
    expect(reader.values()).toEqual({ a: true, b: 4096, 'c.d': 'x', e: true });
  });

  it('are found by dotted keys, taken once, and what is left is told', () => {
    const given: OptionTree = { a: { b: 1, c: { d: 2 } }, e: [1], f: null, g: undefined };
    const reader = read(given);
    expect(['a.b', 'a.x', 'a.b.c', 'e.0', 'e.1', 'f.x', 'x.y'].map((key) => reader.has(key))).toEqual([true, false, false, true, false, false, false]);
    // an element of a list is left where it is: the list is taken as a whole
    expect([reader.take('e.0'), reader.take('e.0')]).toEqual([1, 1]);
    expect(reader.remaining()).toEqual(['a.b', 'a.c.d', 'e', 'f']);
    expect([reader.peek('a.c.d'), reader.take('a.c.d'), reader.take('a.c.d')]).toEqual([2, 2, undefined]);
    expect(reader.remaining()).toEqual(['a.b', 'e', 'f']);
    // the caller's own is as it was
    expect(given).toEqual({ a: { b: 1, c: { d: 2 } }, e: [1], f: null, g: undefined });
  });

  it('that decide what the guest sees are told as they were given', () => {
    const table = driverEntries.find(({ name }) => name === 'raw')?.options.own ?? [];
    const reader = read({ size: '1k', offset: 512 });
    expect(reader.strong()).toBeUndefined();
    reader.useTable(table);
    expect(reader.strong()).toEqual({ size: '1k', offset: 512 });
    const none = read({});
    none.useTable(table);
    expect(none.strong()).toBeUndefined();
    expect(() => none.string('nonsense')).toThrow("option 'nonsense' is not in the driver's table");
  });
});

describe('trees of options', () => {
  it('are laid one over the other member by member', () => {
    expect(mergeOptions({ a: 1, b: { c: 1, d: 1 }, e: [1] }, { a: 2, b: { d: 2 }, e: { f: 1 } })).toEqual({ a: 2, b: { c: 1, d: 2 }, e: { f: 1 } });
    expect([asTree({ a: 1 }), asTree('x'), asTree(null), asTree([1]), asTree(undefined)]).toEqual([{ a: 1 }, {}, {}, {}, {}]);
  });
});

const context: FilenameContext = {
  driver: (name) => driverEntries.find((entry) => entry.name === name),
  isDevice: (path) => path.startsWith('/dev/'),
  isDiscDrive: (path) => path === '/dev/sr0',
};

describe('filenames', () => {
  it('have a protocol where a colon comes before the first slash', () => {
    expect(['nbd:x', 'file:/a', 'a/b:c', '/a:b', 'plain', ''].map(hasProtocol)).toEqual([true, true, false, false, false, false]);
    expect([stripProtocol('file:a'), stripProtocol('file:a:b'), stripProtocol('a'), stripProtocol('nbd:a', 'nbd'), stripProtocol('filex')]).toEqual([
      'a',
      './a:b',
      'a',
      'a',
      'filex',
    ]);
  });

  it('mean files, devices, protocols or whole trees', () => {
    const of = (name: string): unknown => optionsOfFilename(name, context);
    expect(of('a/b')).toEqual({ tree: { driver: 'file', filename: 'a/b' }, isJson: false });
    expect(of('/dev/x')).toEqual({ tree: { driver: 'host_device', filename: '/dev/x' }, isJson: false });
    expect(of('/dev/sr0')).toEqual({ tree: { driver: 'host_cdrom', filename: '/dev/sr0' }, isJson: false });
    expect(of('file:a')).toMatchObject({ tree: { driver: 'file', filename: 'a' }, isJson: false });
    expect(of('json:{"driver": "raw", "file.driver": "file", "file.filename": "a"}')).toEqual({
      tree: { driver: 'raw', file: { driver: 'file', filename: 'a' } },
      isJson: true,
    });
    expect(fileOptions('file:a', context)).toEqual({ driver: 'file', filename: 'file:a' });
    expect(protocolOptions('file', 'a', context)).toEqual({ driver: 'file', filename: 'a' });
    expect(protocolOptions('unheard-of', 'a', context)).toEqual({ driver: 'unheard-of', filename: 'a' });
  });

  it('that mean nothing are refused', () => {
    expect(refusal(() => optionsOfFilename('foo:a', context))).toBe("ENOTSUP: Unknown protocol 'foo'");
    for (const text of ['[]', 'null', '"a"', '5'])
      expect(refusal(() => optionsOfFilename(`json:${text}`, context))).toBe('ERR_PARSE: Invalid JSON object given');
    expect(refusal(() => optionsOfFilename('json:{', context))).toContain('Could not parse the JSON options: ');
  });

  it('of backing files are seen from the image, unless they say where they are', () => {
    const from = (image: string, backing: string): string => combineFilename(image, backing);
    expect(['', '/a', 'json:{}', 'nbd:x'].map((backing) => from('dir/top', backing))).toEqual(['', '/a', 'json:{}', 'nbd:x']);
    expect([from('dir/top', 'b'), from('top', 'b'), from('/a/b/top', '../c'), from('nbd:top', 'b'), from('', 'b')]).toEqual([
      'dir/b',
      'b',
      '/a/b/../c',
      'nbd:b',
      'b',
    ]);
  });
});

describe('settings of a node', () => {
  it('are what is inherited where nothing is said', () => {
    const plain = readSettings(read({}), topInherited);
    expect(plain).toMatchObject({ readOnly: false, autoReadOnly: false, forceShare: false, noIo: false, discard: false, detectZeroes: 'off' });
    expect(plain.cache).toEqual({ direct: false, noFlush: false });
    const inherited = { ...topInherited, readOnly: true, autoReadOnly: true, forceShare: true, noIo: true, direct: true, noFlush: true, discard: true };
    expect(readSettings(read({}), inherited)).toMatchObject({
      ...{ readOnly: true, autoReadOnly: true, forceShare: true, noIo: true, discard: true },
      cache: { direct: true, noFlush: true },
    });
    // who says whether it is read-only means it
    expect(readSettings(read({ 'read-only': false }), inherited)).toMatchObject({ readOnly: false, autoReadOnly: false });
  });

  it('know the words for discards and zeros', () => {
    const discard = (value: string): boolean => readSettings(read({ discard: value }), topInherited).discard;
    expect(['unmap', 'on', 'ignore', 'off'].map(discard)).toEqual([true, true, false, false]);
    expect(refusal(() => discard('maybe'))).toBe('ERR_OPTION: Invalid discard option');
    expect(refusal(() => readSettings(read({ active: false }), topInherited))).toBe('ENOTSUP: Nodes that are inactive are not supported');
    const settings = readSettings(read({ 'detect-zeroes': 'unmap' }), topInherited);
    expect(refusal(() => checkSettings(settings))).toContain('detect-zeroes to unmap is not allowed');
    expect(refusal(() => checkSettings({ ...settings, discard: true }))).toBeUndefined();
    expect(refusal(() => checkSettings({ ...settings, discard: true, forceShare: true }))).toContain('force-share=on can only be used with read-only images');
    expect(refusal(() => checkSettings({ ...settings, discard: true, forceShare: true, readOnly: true }))).toBeUndefined();
  });

  it('are taken out of the options, and all have their names in the list', () => {
    const all = { discard: 'on', 'detect-zeroes': 'on', active: true, 'read-only': true, 'auto-read-only': true, 'force-share': true };
    const reader = read({ ...all, cache: { direct: true, 'no-flush': true }, other: 1 });
    readSettings(reader, topInherited);
    expect(reader.remaining()).toEqual(['other']);
    expect([...settingNames].sort()).toEqual([...Object.keys(all), 'cache.direct', 'cache.no-flush', 'driver', 'node-name'].sort());
  });
});

describe('the names of drivers', () => {
  it('are all of the schema once, those that are here among them', () => {
    expect(new Set(driverNames).size).toBe(driverNames.length);
    for (const name of driverNames) expect(name).toMatch(/^[a-z][a-z0-9_-]*$/);
    expect(driverEntries.map(({ name }) => name).filter((name) => !driverNames.includes(name))).toEqual([]);
  });
});
