import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../../src/core/util/errors.ts';
import { type Json, JsonDouble, type JsonObject, JsonStream, parseJson } from '../../../src/core/util/json.ts';
import { jsonBucket, jsonKeyOrder } from '../../../src/core/util/json-order.ts';
import { writeJson } from '../../../src/core/util/json-write.ts';

/** Values (as written) and errors of a stream, in order; `chunk` bytes at a time. */
function events(text: string | Uint8Array, chunk = 1 << 20): string[] {
  const seen: string[] = [];
  const stream = new JsonStream(
    (value) => seen.push(writeJson(value)),
    (error) => seen.push(`! ${error.message}`),
  );
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  for (let at = 0; at < bytes.length; at += chunk) stream.feed(bytes.subarray(at, at + chunk));
  return seen;
}

function failure(text: string): string {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof BlockError) return error.message;
    throw error;
  }
  return 'no error';
}

describe('parsing a stream', () => {
  it('needs no separators between values and none at the end', () => {
    expect(events('{"a": 1}{"b":[true,null]}  "x"\r\n5 ')).toEqual(['{"a": 1}', '{"b": [true, null]}', '"x"', '5']);
  });

  it('gives the same events however the input is cut', () => {
    const text = '{"a": "\u00e9\\u00e9", "b": [1, -2.5e3, nan]} [1 2] @x\n{"c": \'it\\\'s\'}\x01{"d": 18446744073709551615} ';
    const whole = events(text);
    for (const chunk of [1, 2, 3, 5, 7]) expect(events(text, chunk)).toEqual(whole);
    expect(whole).toContain('{"d": 18446744073709551615}');
  });

  // the left side went into QEMU 11.1.2's monitor, the right side is what it answered
  it.each([
    ['{"execute":}', ['! 1:12: JSON parse error, expecting value']],
    ['{"execute" "x"}', ["! 1:12: JSON parse error, expecting ':'"]],
    ['{execute:1}', ['! 1:2: JSON parse error, expecting key']],
    ['{"a":1,}', ['! 1:8: JSON parse error, expecting key']],
    ['{"a":1\n"b":2}\n5 ', ["! 2:1: JSON parse error, expected ',' or '}'", '5']],
    ['[1 2]', ["! 1:4: JSON parse error, expected ',' or ']'"]],
    ['[1,]', ['! 1:4: JSON parse error, expecting value']],
    ['}]', ['! 1:1: JSON parse error, expecting value', '! 1:2: JSON parse error, expecting value']],
    ['{"a":1,"a":2} ', ['! 1:12: JSON parse error, duplicate key']],
    ['{"a":1,"a":{"b":1}} ', ['! 1:19: JSON parse error, duplicate key']],
    ['nan 5 ', ["! 1:1: JSON parse error, invalid keyword 'nan'", '5']],
    ['@', ["! 1:1: JSON parse error, stray '@'"]],
    ['-\n', ["! 1:1: JSON parse error, stray '-\n'"]],
    ['1.\n', ["! 1:1: JSON parse error, stray '1.\n'"]],
    ['"a\n', ["! 1:1: JSON parse error, stray '\"a\n'"]],
    ['01 ', ["! 1:1: JSON parse error, stray '01'"]],
    ['0e1 ', ['0', "! 1:3: JSON parse error, invalid keyword 'e'", '1']],
    ['"\\x41" ', ['! 1:1: JSON parse error, invalid escape sequence in string']],
    ['"\\ud800" ', ['! 1:1: JSON parse error, \\ud800 is not a valid Unicode character']],
    ['"\\u12" ', ['! 1:1: JSON parse error, \\u12" is not a valid Unicode character']],
    ['"\\uffff" ', ['! 1:1: JSON parse error, \\uffff is not a valid Unicode character']],
    ['\x00 ', ["! 1:1: JSON parse error, stray ''"]],
    // skipping: inside a broken value everything up to its end is silent
    ['{x {"a":1} } 5 ', ['! 1:2: JSON parse error, expecting key', '5']],
    ['{]}', ['! 1:2: JSON parse error, expecting key', '! 1:3: JSON parse error, expecting value']],
    ['[[x } ] 5 ', ["! 1:3: JSON parse error, invalid keyword 'x'", '! 1:7: JSON parse error, expecting value', '5']],
    // recovery: after garbage the lexer waits for a structural or a control character, blanks do not help
    ['@@ 5 , 6 ', ["! 1:1: JSON parse error, stray '@'", '! 1:7: JSON parse error, expecting value', '6']],
    ['{"a":1 \x01 "b" {"b":2}', ["! 1:8: JSON parse error, stray '\u0001'", '{"b": 2}']],
    ['5@,', ['5', "! 1:3: JSON parse error, stray '@'", '! 1:4: JSON parse error, expecting value']],
  ])('answers %j as QEMU does', (text, expected) => {
    expect(events(text)).toEqual(expected);
  });

  it('shows bad UTF-8 as replacement characters and refuses it in strings', () => {
    expect(events(Buffer.from('"\xff" 5\n', 'latin1'))).toEqual(["! 1:1: JSON parse error, stray '\"\ufffd'"]);
    expect(events(Buffer.from('"\xed\xa0\x80" ', 'latin1'))).toEqual(['! 1:1: JSON parse error, invalid UTF-8 sequence in string']);
    expect(events(Buffer.from('"\xc0\x80" ', 'latin1'))).toEqual(['"\\u0000"']);
  });

  it('accepts 1024 levels, refuses 1025 and swallows the rest of that value', () => {
    expect(events('['.repeat(1024) + ']'.repeat(1024))).toHaveLength(1);
    expect(events(`${'['.repeat(1025)}1 2 nan${']'.repeat(1025)}5 `)).toEqual(['! JSON nesting depth limit exceeded', '5']);
    expect(events(`${'['.repeat(1025)}\x01\n5 `)).toEqual(['! JSON nesting depth limit exceeded', '5']);
  });

  it('refuses more than 2 Mi tokens', () => {
    const most = `[${'[],'.repeat(699049)}[] ]`;
    expect(events(most)).toHaveLength(1);
    expect(events(`[${'[],'.repeat(699050)}[] ] 5 `)).toEqual(['! JSON token count limit exceeded', '5']);
  });

  it('refuses more than 64 MiB of token text without keeping it', () => {
    const stream: string[] = [];
    const parser = new JsonStream(
      () => stream.push('value'),
      (error) => stream.push(error.message),
    );
    parser.feed('"');
    const block = Buffer.alloc(1 << 20, 0x61);
    for (let i = 0; i < 70; i++) parser.feed(block);
    parser.feed('" 5 ');
    expect(stream).toEqual(['JSON token size limit exceeded', 'value']);
  });

  it('never throws, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.integer({ min: 1, max: 9 }), (bytes, chunk) => {
        expect(events(bytes, chunk)).toEqual(events(bytes));
      }),
    );
    const token = fc.constantFrom('{', '}', '[', ']', ',', ':', '"a"', "'b'", '1', '-', '1.5', 'true', 'x', ' ', '\n', '@', '"', '\\');
    fc.assert(
      fc.property(fc.array(token, { maxLength: 30 }), (tokens) => {
        expect(events(tokens.join(''), 2)).toEqual(events(tokens.join('')));
      }),
    );
  });
});

describe('parsing one value', () => {
  it.each([
    ['{"driver":"qcow2"', '1:18: JSON parse error, premature end of input'],
    ['{"a":1', '1:8: JSON parse error, premature end of input'],
    ['', 'Expecting a JSON value'],
    ['{} {x}', 'Expecting at most one JSON value'],
    ['{}x', 'Expecting at most one JSON value'],
    ['{x} {}', '1:2: JSON parse error, expecting key'],
    ['{"a', "1:2: JSON parse error, stray '\"a'"],
    ['{"a":tr', "1:6: JSON parse error, invalid keyword 'tr'"],
    ['{"a":%d}', "1:6: JSON parse error, stray '%'"],
  ])('refuses %j', (text, message) => {
    expect(failure(text)).toBe(message);
  });

  it('keeps integers of 64 bits exact and tells doubles apart', () => {
    expect(parseJson('9007199254740993')).toBe(9007199254740993n);
    expect(parseJson('9007199254740991')).toBe(9007199254740991);
    expect(parseJson('-9223372036854775808')).toBe(-9223372036854775808n);
    expect(parseJson('18446744073709551615')).toBe(18446744073709551615n);
    expect(parseJson('-0')).toBe(0);
    for (const text of ['1.0', '1e3', '18446744073709551616', '-9223372036854775809']) expect(parseJson(text)).toBeInstanceOf(JsonDouble);
  });

  it('treats __proto__ as a name like any other', () => {
    const value = parseJson('{"__proto__": {"polluted": 1}, "constructor": 2}') as JsonObject;
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
    expect(writeJson(value)).toContain('"__proto__": {"polluted": 1}');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

describe('writing', () => {
  it.each([
    ['1.10', '1.1000000000000001'],
    ['1.0', '1'],
    ['1e3', '1000'],
    ['-0', '0'],
    ['18446744073709551616', '1.8446744073709552e+19'],
    ['-9223372036854775809', '-9.2233720368547758e+18'],
    ['2.98023223876953125e-8', '2.9802322387695312e-08'],
    ['1e400', 'inf'],
  ])('prints the number %s as %s', (text, printed) => {
    expect(writeJson(parseJson(text))).toBe(printed);
  });

  it('prints pure ASCII with upper-case escapes', () => {
    expect(writeJson('é\u{1F600}/\b\f\n\r\t\\"<\u007f\u0000')).toBe('"\\u00E9\\uD83D\\uDE00/\\b\\f\\n\\r\\t\\\\\\"<\\u007F\\u0000"');
    expect(writeJson('\ud800 \uffff')).toBe('"\\uFFFD \\uFFFD"');
  });

  it('prints members in bucket order, the last inserted first within a bucket', () => {
    expect(writeJson({ id: 1, return: {} })).toBe('{"return": {}, "id": 1}');
    expect(writeJson({ id: 1, error: { class: 'GenericError', desc: 'x' } })).toBe('{"id": 1, "error": {"class": "GenericError", "desc": "x"}}');
    expect(writeJson({ qemu: { major: 11, minor: 1, micro: 2 }, package: 'p' })).toBe('{"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": "p"}');
    expect(jsonBucket('-namename2')).toBe(jsonBucket('0'));
    expect(jsonKeyOrder(['-namename2', '0'])).toEqual(['0', '-namename2']);
    expect(jsonKeyOrder(['0', '-namename2'])).toEqual(['-namename2', '0']);
    expect(writeJson(parseJson('{"-namename2": 1, "0": 2}'))).toBe('{"0": 2, "-namename2": 1}');
    expect(writeJson({ id: 1, return: {} }, { order: 'insertion' })).toBe('{"id": 1, "return": {}}');
  });

  it('indents by four blanks in the pretty form, as --output=json', () => {
    expect(writeJson({ children: [], info: { data: {}, list: [1, 'a'] } }, { pretty: true, order: 'insertion' })).toBe(
      '{\n    "children": [\n    ],\n    "info": {\n        "data": {\n        },\n        "list": [\n            1,\n            "a"\n        ]\n    }\n}',
    );
  });

  it('leaves out members that are undefined', () => {
    expect(writeJson({ a: undefined, b: 1 })).toBe('{"b": 1}');
    expect(writeJson({ a: undefined })).toBe('{}');
  });

  it('reads back what it wrote', () => {
    const leaf = fc.oneof(
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.string({ unit: 'grapheme' }),
      fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 60n) }),
      fc.bigInt({ min: 2n ** 60n, max: 2n ** 64n - 1n }),
    );
    const value = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(fc.string(), tie('value'), { maxKeys: 5 })),
    })).value;
    fc.assert(
      fc.property(value, fc.boolean(), (original, pretty) => {
        const text = writeJson(original, { pretty });
        expect(text).toMatch(/^[\n -~]*$/);
        const again = parseJson(text);
        expect(writeJson(again, { order: 'insertion', pretty })).toBe(text);
        expect(plain(again)).toEqual(plain(original as Json));
      }),
    );
  });
});

/** With ordinary objects, for comparison; noncharacters read as U+FFFD. */
function plain(value: Json): unknown {
  if (typeof value === 'string')
    return value.replace(
      /[\ufdd0-\ufdef\ufffe\uffff]|[\ud83f\ud87f\ud8bf\ud8ff\ud93f\ud97f\ud9bf\ud9ff\uda3f\uda7f\udabf\udaff\udb3f\udb7f\udbbf\udbff][\udffe\udfff]/g,
      '\ufffd',
    );
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null && !(value instanceof JsonDouble)) {
    return Object.entries(value)
      .map(([key, member]) => [plain(key), plain(member)])
      .sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));
  }
  return value;
}
