import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { BlockError } from '../../../src/core/util/errors.ts';
import { parseJson } from '../../../src/core/util/json.ts';
import {
  alternate,
  any,
  bool,
  deprecated,
  described,
  enumOf,
  exact,
  type Infer,
  int8,
  int64,
  integer,
  lazy,
  listOf,
  nullValue,
  num,
  optional,
  parse,
  type Schema,
  size,
  str,
  struct,
  uint16,
  uint32,
  uint64,
  union,
} from '../../../src/core/util/schema.ts';
import { acceptedWords, describeMembers, describePath, typeText } from '../../../src/core/util/schema-describe.ts';

const cache = struct('BlockdevCacheOptions', { direct: optional(bool), 'no-flush': optional(bool) });
interface Node {
  driver: string;
  [key: string]: unknown;
}
const ref: Schema<string | Node> = alternate('BlockdevRef', { string: str, object: lazy((): Schema<Node> => node) });
const refOrNull: Schema<string | Node | null> = alternate('BlockdevRefOrNull', { string: str, null: nullValue, object: lazy((): Schema<Node> => node) });
const node: Schema<Node> = union('BlockdevOptions', {
  base: {
    driver: enumOf('BlockdevDriver', ['null-co', 'file', 'qcow2', 'quorum', 'nbd', 'bochs']),
    'node-name': optional(str),
    cache: optional(cache),
    'detect-zeroes': optional(enumOf('DetectZeroes', ['off', 'on', 'unmap'])),
  },
  tag: 'driver',
  branches: () => ({
    'null-co': { size: optional(int64), 'latency-ns': optional(uint64), 'read-zeroes': optional(bool) },
    file: { filename: str },
    qcow2: { file: ref, backing: optional(refOrNull), 'cache-size': optional(int64) },
    quorum: { children: listOf(ref), 'vote-threshold': int64 },
    nbd: {
      server: union('SocketAddress', {
        base: {},
        tag: 'type',
        branches: { inet: struct('InetSocketAddress', { host: str, port: str, to: optional(uint16) }), unix: { path: str } },
      }),
      'reconnect-delay': optional(uint32),
    },
  }),
});

function message(schema: Schema<unknown>, text: string): string {
  try {
    parse(schema, parseJson(text));
  } catch (error) {
    if (error instanceof BlockError) return error.message;
    throw error;
  }
  return 'accepted';
}

describe('checking arguments', () => {
  // what blockdev-add of the peer says
  it.each([
    ['{}', "Parameter 'driver' is missing"],
    ['{"driver": 5}', "Invalid parameter type for 'driver', expected: string"],
    ['{"driver": "zz", "node-name": 5}', "Parameter 'driver' does not accept value 'zz'"],
    ['{"driver": "qcow2", "node-name": 5}', "Invalid parameter type for 'node-name', expected: string"],
    ['{"driver": "qcow2"}', "Parameter 'file' is missing"],
    ['{"driver": "qcow2", "file": 5}', "Invalid parameter type for 'file', expected: BlockdevRef"],
    ['{"driver": "qcow2", "file": null}', "Invalid parameter type for 'file', expected: BlockdevRef"],
    ['{"driver": "qcow2", "file": {}}', "Parameter 'file.driver' is missing"],
    ['{"driver": "qcow2", "file": {"driver": "nosuch"}}', "Parameter 'driver' does not accept value 'nosuch'"],
    ['{"driver": "qcow2", "file": {"driver": "file", "filename": "x", "x": 1}, "backing": 5}', "Parameter 'file.x' is unexpected"],
    ['{"driver": "qcow2", "file": "x", "backing": true}', "Invalid parameter type for 'backing', expected: BlockdevRefOrNull"],
    ['{"driver": "qcow2", "file": "x", "backing": null}', 'accepted'],
    ['{"driver": "bochs"}', 'accepted'],
    ['{"driver": "bochs", "file": "x"}', "Parameter 'file' is unexpected"],
    ['{"driver": "null-co", "size": 1.5}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver": "null-co", "size": 1.0}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver": "null-co", "size": 9223372036854775808}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver": "null-co", "size": null}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver": "null-co", "latency-ns": 18446744073709551616}', "Parameter 'latency-ns' expects uint64"],
    ['{"driver": "null-co", "latency-ns": "5"}', "Parameter 'latency-ns' expects uint64"],
    ['{"driver": "null-co", "read-zeroes": 1}', "Invalid parameter type for 'read-zeroes', expected: boolean"],
    ['{"driver": "null-co", "cache": []}', "Invalid parameter type for 'cache', expected: object"],
    ['{"driver": "null-co", "cache": {"direct": true, "x": 1}, "detect-zeroes": "zz"}', "Parameter 'cache.x' is unexpected"],
    ['{"driver": "null-co", "cache": {"direct": 1}}', "Invalid parameter type for 'cache.direct', expected: boolean"],
    ['{"driver": "nbd", "server": {"type": "inet", "host": "x", "port": 5}}', "Invalid parameter type for 'server.port', expected: string"],
    ['{"driver": "nbd", "server": {"type": "zz"}}', "Parameter 'type' does not accept value 'zz'"],
    ['{"driver": "nbd", "server": {"type": "inet", "host": "x", "port": "5", "to": 65536}}', "Parameter 'to' expects uint16_t"],
    ['{"driver": "nbd", "server": {"type": "unix", "path": "x"}, "reconnect-delay": -1}', "Parameter 'reconnect-delay' expects uint32_t"],
    ['{"driver": "quorum", "children": 5, "vote-threshold": 1}', "Invalid parameter type for 'children', expected: array"],
    ['{"driver": "quorum", "children": [5], "vote-threshold": 1}', "Invalid parameter type for 'null', expected: BlockdevRef"],
    ['{"driver": "quorum", "children": ["a", {"driver": "file"}], "vote-threshold": 1}', "Parameter 'children[1].filename' is missing"],
    ['{"driver": "quorum", "children": ["a", {"driver": "file", "filename": "x", "z": 1, "y": 1}]}', "Parameter 'children[1].y' is unexpected"],
    ['[]', "Invalid parameter type for '<anonymous>', expected: object"],
  ])('of %s: %s', (text, expected) => {
    expect(message(node, text)).toBe(expected);
  });

  it('names elements of lists of words as QEMU does', () => {
    const enable = struct({ enable: optional(listOf(enumOf('QMPCapability', ['oob']))) });
    expect(message(enable, '{"enable": ["x"]}')).toBe("Parameter 'null' does not accept value 'x'");
    expect(message(enable, '{"enable": [5]}')).toBe("Invalid parameter type for 'enable[0]', expected: string");
  });

  it('names the unknown member that QEMU names', () => {
    const enable = struct({ enable: optional(listOf(str)) });
    expect(message(enable, '{"enable": [], "a": 1, "b": 2, "c": 3}')).toBe("Parameter 'b' is unexpected");
    expect(message(struct({}), `{${Array.from({ length: 40 }, (_, i) => `"k${i}": 1`).join(',')}}`)).toMatch(/^Parameter 'k\d+' is unexpected$/);
  });

  it('checks members of the base first, then those of the branch, unknown ones last', () => {
    const text = '{"zz": 1, "file": 5, "driver": "qcow2", "detect-zeroes": "zz"}';
    expect(message(node, text)).toBe("Parameter 'detect-zeroes' does not accept value 'zz'");
  });
});

describe('parsed values', () => {
  it('are fresh objects with the known members only', () => {
    const input = parseJson('{"driver": "file", "filename": "x"}');
    const result = parse(node, input);
    expect(result).toEqual({ driver: 'file', filename: 'x' });
    expect(result).not.toBe(input);
  });

  it('treat members that are undefined as absent', () => {
    expect(parse(cache, { direct: undefined, 'no-flush': true })).toEqual({ 'no-flush': true });
  });

  it('are numbers where they are safe, else as the schema says', () => {
    const big = '{"v": 9007199254740993}';
    expect(parse(struct({ v: int64 }), parseJson(big)).v).toBe(Number.MAX_SAFE_INTEGER);
    expect(parse(struct({ v: int64 }), parseJson(big.replace(/(\d+)/, '-$1'))).v).toBe(Number.MIN_SAFE_INTEGER);
    expect(parse(struct({ v: integer(int64) }), parseJson(big)).v).toBe(9007199254740993n);
    expect(parse(struct({ v: integer(int64) }), parseJson('{"v":5}')).v).toBe(5);
    expect(parse(struct({ v: exact(uint64) }), parseJson(big)).v).toBe(9007199254740993n);
    expect(parse(struct({ v: exact(uint64) }), parseJson('{"v": -1}')).v).toBe(18446744073709551615n);
    expect(parse(struct({ v: num }), parseJson('{"v": 1.5}')).v).toBe(1.5);
    expect(message(struct({ v: int8 }), '{"v": -129}')).toBe("Parameter 'v' expects int8_t");
    expect(parse(struct({ v: int8 }), { v: -128 })).toEqual({ v: -128 });
  });

  it('keep any value as it came', () => {
    const value = parseJson('{"v": {"x": [1.0]}}') as { v: unknown };
    expect((parse(struct({ v: any }), value) as { v: unknown }).v).toBe(value.v);
  });

  it('take the members of a base struct first', () => {
    const derived = struct('D', { b: str }, { base: struct('B', { a: str }) });
    expect(message(derived, '{}')).toBe("Parameter 'a' is missing");
    expect(message(derived, '{"a": "1"}')).toBe("Parameter 'b' is missing");
    expect(Object.keys(parse(derived, { b: '2', a: '1' }))).toEqual(['a', 'b']);
  });

  it('only ever fail with BlockError', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('driver', 'file', 'backing', 'cache', 'children', 'size'), (value, key) => {
        for (const driver of ['qcow2', 'quorum', 'null-co']) message(node, JSON.stringify({ driver, [key]: value }));
        message(node, JSON.stringify(value));
      }),
    );
  });
});

describe('types', () => {
  it('follow from the schema', () => {
    const args = struct({ device: str, speed: optional(int64), mode: enumOf('M', ['a', 'b']), list: optional(listOf(uint32)) });
    expectTypeOf<Infer<typeof args>>().toEqualTypeOf<{ device: string; mode: 'a' | 'b'; speed?: number | undefined; list?: number[] | undefined }>();
    const address = union('A', { base: { id: optional(str) }, tag: 'type', branches: { unix: { path: str }, inet: struct('I', { host: str }) } });
    expectTypeOf<Infer<typeof address>>().toEqualTypeOf<
      { id?: string | undefined; type: 'unix'; path: string } | { id?: string | undefined; type: 'inet'; host: string }
    >();
    const alt = alternate('X', { string: str, null: nullValue });
    expectTypeOf<Infer<typeof alt>>().toEqualTypeOf<string | null>();
    expect(parse(alt, null)).toBeNull();
  });
});

describe('descriptions', () => {
  it('list the members of the branch that is known', () => {
    expect(describeMembers(node).map((member) => member.name)).toEqual(['driver', 'node-name', 'cache', 'detect-zeroes']);
    const members = describeMembers(node, { driver: 'qcow2' });
    expect(members.map((member) => member.name)).toEqual(['driver', 'node-name', 'cache', 'detect-zeroes', 'file', 'backing', 'cache-size']);
    expect(members.find((member) => member.name === 'file')).toMatchObject({ isOptional: false, type: 'BlockdevRef' });
  });

  it('follow dotted paths and give the words that fit', () => {
    const driver = describePath(node, ['file', 'driver'], { driver: 'qcow2' });
    expect(driver === undefined ? [] : acceptedWords(driver)).toContain('null-co');
    expect(describePath(node, ['file', 'filename'], { driver: 'qcow2', file: { driver: 'file' } })?.node.kind).toBe('str');
    expect(describePath(node, ['nosuch'])).toBeUndefined();
    expect(acceptedWords(bool)).toEqual(['true', 'false']);
    expect(typeText(size)).toBe('size');
    expect(typeText(listOf(enumOf('E', ['a', 'b'])))).toBe('[a|b]');
  });

  it('carry features and help of members', () => {
    const args = struct({ old: deprecated(optional(str)), now: described(optional(str), 'what to use') });
    expect(describeMembers(args)).toMatchObject([
      { name: 'old', isOptional: true, features: ['deprecated'] },
      { name: 'now', isOptional: true, text: 'what to use' },
    ]);
  });
});
