import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../../src/core/util/errors.ts';
import {
  escapeCommas,
  flatten,
  hasHelpWord,
  isValidOptionList,
  type KeyValues,
  parseKeyValues,
  parseKeyValuesOrHelp,
  parseOptionString,
  parseOptionWords,
  unflatten,
} from '../../../src/core/util/key-values.ts';
import { alternate, bool, enumOf, int64, nullValue, num, optional, size, str, struct, uint16 } from '../../../src/core/util/schema.ts';
import { parseKeyval, parseOptionArgument } from '../../../src/core/util/schema-keyval.ts';
import { parseBoolOption, parseNumberOption } from '../../../src/core/util/schema-scalars.ts';

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof BlockError) return error.message;
    throw error;
  }
  return 'no error';
}
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('the strict grammar', () => {
  it.each([
    ['driver=null-co,node-name=a', { driver: 'null-co', 'node-name': 'a' }],
    ['null-co', { driver: 'null-co' }],
    ['null-co,', { driver: 'null-co' }],
    ['', {}],
    ['a=1,,b=2', { a: '1,b=2' }],
    ['a=5,,', { a: '5,' }],
    ['a=,b==', { a: '', b: '=' }],
    ['a.b.c=1,a.b.d=2', { a: { b: { c: '1', d: '2' } } }],
    ['a.1=y,a.0=x', { a: ['x', 'y'] }],
    ['a.00=x', { a: ['x'] }],
    ['a.0.0=1,a.0.1=2,a.1.b=3', { a: [['1', '2'], { b: '3' }] }],
    ['size=5k,size=6', { size: '6' }],
    ['__a.b_c=1', { '__a.b_c': '1' }],
    ['__proto_x=1', { __proto_x: '1' }],
  ])('reads %j', (text, expected) => {
    expect(plain(parseKeyValues(text, 'driver'))).toEqual(expected);
  });

  it.each([
    ['a=1,b', "Expected '=' after parameter 'b'"],
    ['x=1,null-co', "Expected '=' after parameter 'null-co'"],
    ['file=x,file.driver=y', "Parameters 'file.*' used inconsistently"],
    ['file.driver=y,file=x', "Parameters 'file.*' used inconsistently"],
    ['a.b=1,a.b.c=2', "Parameters 'a.b.*' used inconsistently"],
    ['a.0=1,a.x=1', "Parameters 'a.*' used inconsistently"],
    ['a.1=1', "Parameter 'a.0' missing"],
    ['a.b.0=1,a.b.2=1', "Parameter 'a.b.1' missing"],
    ['a.99999999999=1', "Parameter 'a.0' missing"],
    ['a..b=1', "Invalid parameter 'a..b'"],
    ['a.=1', "Invalid parameter 'a.'"],
    ['=1', "Invalid parameter ''"],
    [',a=1', "Invalid parameter ''"],
    ['null-co,,x', "Invalid parameter ''"],
    ['9=1', "Invalid parameter '9'"],
    ['a.0x=1', "Invalid parameter 'a.0x'"],
    ['_x=5', "Invalid parameter '_x'"],
    ['a b=1', "Invalid parameter 'a b'"],
    [`${'k'.repeat(128)}=1`, `Parameter '${'k'.repeat(128)}' is too long`],
    [`a.${'k'.repeat(128)}=1`, `Parameter fragment '${'k'.repeat(128)}' is too long`],
    ['null-co,help', 'Help is not available for this option'],
    ['?', 'Help is not available for this option'],
  ])('refuses %j', (text, expected) => {
    expect(failure(() => parseKeyValues(text, 'driver'))).toBe(expected);
  });

  it('hears the call for help only as a word of its own', () => {
    expect(parseKeyValuesOrHelp('throttle,help', 'type')).toMatchObject({ help: true, values: { type: 'throttle' } });
    expect(parseKeyValuesOrHelp('help', 'type').help).toBe(true);
    expect(parseKeyValuesOrHelp('help=1', 'type').help).toBe(false);
  });

  it('reads back what is written with doubled commas', () => {
    const key = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,10}$/);
    fc.assert(
      fc.property(fc.dictionary(key, fc.string(), { maxKeys: 5 }), (values) => {
        const text = Object.entries(values)
          .map(([name, value]) => `${name}=${escapeCommas(value)}`)
          .join(',');
        expect(plain(parseKeyValues(text))).toEqual(values);
        expect(plain(parseOptionString(text, undefined, { keepId: true }))).toEqual(values);
      }),
    );
  });

  it('only ever fails with BlockError', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '.', ',', '=', '0', '1', '-', '_', 'é') }), (text) => {
        failure(() => parseKeyValues(text, 'x'));
        parseOptionWords(text, 'x');
        hasHelpWord(text);
        failure(() => unflatten({ [text]: 1, 'a.b': 2 }));
      }),
    );
  });
});

describe('conversion by a schema', () => {
  const schema = struct({
    flag: optional(bool),
    number: optional(int64),
    to: optional(uint16),
    bytes: optional(size),
    ratio: optional(num),
    word: optional(enumOf('W', ['on', 'off'])),
    cache: optional(struct('C', { direct: optional(bool) })),
    backing: optional(alternate('StrOrNull', { string: str, null: nullValue })),
  });
  const read = (text: string): unknown => parseKeyval(schema, parseKeyValues(text));

  it.each([
    ['flag=y', { flag: true }],
    ['flag=off', { flag: false }],
    ['number=0x10', { number: 16 }],
    ['number=010', { number: 8 }],
    ['number= -5', { number: -5 }],
    ['bytes=1.5k', { bytes: 1536 }],
    ['ratio=1e3', { ratio: 1000 }],
    ['cache.direct=on', { cache: { direct: true } }],
    ['backing=', { backing: '' }],
  ])('reads %j', (text, expected) => {
    expect(read(text)).toEqual(expected);
  });

  it.each([
    ['flag=On', "Parameter 'flag' expects 'on' or 'off'"],
    ['number=1M', "Parameter 'number' expects integer"],
    ['number=08', "Parameter 'number' expects integer"],
    ['number=9223372036854775808', "Parameter 'number' expects integer"],
    ['number=', "Parameter 'number' expects integer"],
    ['to=65536', "Parameter 'to' expects uint16_t"],
    ['to=-1', "Parameter 'to' expects uint16_t"],
    ['bytes=-1', "Parameter 'bytes' expects size"],
    ['bytes=16E', "Parameter 'bytes' expects size"],
    ['word=x', "Parameter 'word' does not accept value 'x'"],
    ['cache=5', "Invalid parameter type for 'cache', expected: object"],
    ['cache.x=1', "Parameter 'cache.x' is unexpected"],
    ['cache.direct.x=1', "Parameters 'cache.direct.*' are unexpected"],
    ['number.a=1', "Parameters 'number.*' are unexpected"],
    ['backing.0=x', "Invalid parameter type for 'backing', expected: StrOrNull"],
  ])('refuses %j', (text, expected) => {
    expect(failure(() => read(text))).toBe(expected);
  });

  it('takes JSON for arguments that begin with a brace', () => {
    expect(parseOptionArgument(schema, '{"number": 5}')).toEqual({ number: 5 });
    expect(failure(() => parseOptionArgument(schema, '{"number": "5"}'))).toBe("Invalid parameter type for 'number', expected: integer");
    expect(failure(() => parseOptionArgument(schema, '{"number"'))).toBe('1:10: JSON parse error, premature end of input');
  });
});

describe('the grammar of flat options', () => {
  it.each([
    ['lazy_refcounts', { lazy_refcounts: 'on' }],
    ['nolazy_refcounts', { lazy_refcounts: 'off' }],
    ['nolazy=on', { nolazy: 'on' }],
    ['no', { '': 'off' }],
    ['a=1,,2,b', { a: '1,2', b: 'on' }],
    ['a=1,a=2', { a: '2' }],
    ['id=x,a=1', { a: '1' }],
    ['=on', { '': 'on' }],
  ])('reads %j', (text, expected) => {
    expect(plain(parseOptionString(text))).toEqual(expected);
  });

  it('gives a first word without = to the implied key, commas doubled', () => {
    expect(parseOptionWords('a,,b,c=1,d', 'file')).toEqual([
      { name: 'file', value: 'a,b', isFlag: false },
      { name: 'c', value: '1', isFlag: false },
      { name: 'd', value: 'on', isFlag: true },
    ]);
  });

  it('knows which texts are lists', () => {
    for (const text of ['a', 'a=1,,', 'a,b', 'a,,,,']) expect(isValidOptionList(text)).toBe(true);
    for (const text of ['', ',', ',a', ',,a', 'a,', 'a,,,']) expect(isValidOptionList(text)).toBe(false);
  });

  it('hears the call for help', () => {
    for (const text of ['help', '?', 'a,help,b', 'a=1,,2,?']) expect(hasHelpWord(text)).toBe(true);
    for (const text of ['helpx', 'help=1', 'a=help', 'a,,help']) expect(hasHelpWord(text)).toBe(false);
  });

  it('words wrong values as -o does', () => {
    expect(failure(() => parseBoolOption('lazy_refcounts', 'On'))).toBe("Parameter 'lazy_refcounts' expects 'on' or 'off'");
    expect(failure(() => parseNumberOption('refcount_bits', '8k'))).toBe("Parameter 'refcount_bits' expects a number");
    expect(failure(() => parseNumberOption('refcount_bits', ''))).toBe("Parameter 'refcount_bits' expects a number");
    expect(failure(() => parseNumberOption('n', '99999999999999999999'))).toBe("Value '99999999999999999999' is too large for parameter 'n'");
    expect(parseNumberOption('refcount_bits', '010')).toBe(8n);
    expect(parseNumberOption('refcount_bits', '-1')).toBe(18446744073709551615n);
  });
});

describe('dotted keys and nested objects', () => {
  it('go both ways', () => {
    const nested = { driver: 'qcow2', file: { driver: 'file', filename: 'x' }, children: ['a', { b: 1 }], empty: {} };
    const flat = flatten(nested);
    expect(plain(flat)).toEqual({ driver: 'qcow2', 'file.driver': 'file', 'file.filename': 'x', 'children.0': 'a', 'children.1.b': 1, empty: {} });
    expect(plain(unflatten(flat))).toEqual(nested);
  });

  it('meet in one object: the nested member wins', () => {
    expect(plain(unflatten({ file: { driver: 'file' }, 'file.driver': 'x', 'file.filename': 'y' }))).toEqual({ file: { driver: 'file', filename: 'y' } });
  });

  it('are refused where they contradict each other', () => {
    expect(failure(() => unflatten({ a: 1, 'a.b': 2 }))).toBe('Cannot mix scalar and non-scalar keys');
    expect(failure(() => unflatten({ 'a.b': 1, a: 2 }))).toBe('Cannot mix scalar and non-scalar keys');
    expect(failure(() => unflatten({ 'a.0': 1, 'a.b': 2 }))).toBe('Cannot mix list and non-list keys');
    expect(failure(() => unflatten({ 'a.0': 1, 'a.2': 2 }))).toBe('List indices are not contiguous, saw 2 elements but 2 largest index');
  });

  it('survive the round trip', () => {
    const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null));
    const key = fc.stringMatching(/^[a-z]{1,4}$/);
    const tree = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof({ maxDepth: 3 }, leaf, fc.array(tie('tree'), { minLength: 1, maxLength: 3 }), fc.dictionary(key, tie('tree'), { minKeys: 1, maxKeys: 4 })),
    })).tree;
    fc.assert(
      fc.property(fc.dictionary(key, tree, { maxKeys: 5 }), (nested) => {
        expect(plain(unflatten(flatten(nested)))).toEqual(plain(nested));
      }),
    );
  });

  it('do not reach the prototype', () => {
    const made = unflatten({ '__proto__.polluted': 1 }) as KeyValues;
    expect(Object.keys(made)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
