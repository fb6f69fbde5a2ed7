/*
 * The text layer against the peers: JSON streams against the monitor of qemu-storage-daemon, option strings against its
 * --blockdev, sizes and command lines against qemu-img. Random input is seeded; a difference shows the seed's line.
 */

import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { UsageError } from '../../src/cli/getopt.ts';
import { defineOptions, helpOption, parseOptions } from '../../src/cli/options.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { isJsonObject, JsonStream } from '../../src/core/util/json.ts';
import { writeJson } from '../../src/core/util/json-write.ts';
import { bool, enumOf, int64, optional, type Schema, str, struct, uint64, union } from '../../src/core/util/schema.ts';
import { parseOptionArgument } from '../../src/core/util/schema-keyval.ts';
import { parseSizeExact } from '../../src/core/util/size.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { runSync } from '../support/run.ts';
import { tempFolder } from '../support/tmp.ts';

/** A small generator (xorshift) so that a seed means the same everywhere. */
function random(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const negotiation = '{"execute":"qmp_capabilities"}';
const pieces = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '"a"',
    '"b"',
    "'c'",
    '1',
    '-2',
    '0',
    '01',
    '1.5',
    '1e5',
    '0e5',
    '-',
    '1.',
    'true',
    'null',
    'nan',
    ' ',
    '\n',
    '\t',
    '\r',
    '@',
    '%',
  ],
  ...[
    '"\\u0041"',
    '"\\q"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\uffff"',
    '"\\u12"',
    '"\\u00',
    '"x\n',
    '"id":',
    '{"id":',
    '\\',
    "'\\''",
    '"\\',
    '/',
    'A',
    '\x01',
    '\x7f',
  ],
  ...['18446744073709551615', '9007199254740993', '1.10', '99999999999999999999', '-0', '-0.0', '2.98023223876953125e-8', '1e22', '5e-324'],
].map((text) => Buffer.from(text, 'utf8'));
const rawPieces = ['"\xc3\xa9"', '"\xff', '\xfe', '\xc3', '"\xed\xa0\x80"', '"\xc0\x80"', '"\xf0\x9f\x98\x80"'].map((text) => Buffer.from(text, 'latin1'));

/** A command that names nothing, with an id that has to come back re-printed. */
function echo(next: (below: number) => number): Buffer {
  const value = (depth: number): string => {
    const kind = next(depth > 2 ? 6 : 9);
    if (kind < 6) return ['1', '-5', '"s"', 'true', '0.1', '18446744073709551615'][kind] ?? '1';
    if (kind < 7) return `[${Array.from({ length: next(4) }, () => value(depth + 1)).join(',')}]`;
    const names = ['a', 'node', 'name-', '0', 'x.y', 'filename', 'z'];
    return `{${Array.from({ length: next(6) }, (_, i) => `"${names[next(names.length)] ?? ''}${next(3)}${i}":${value(depth + 1)}`).join(', ')}}`;
  };
  return Buffer.from(`{"id": ${value(0)}}`);
}

function soup(seed: number, lines: number): Buffer {
  const next = random(seed);
  const all = [...pieces, ...rawPieces];
  const parts: Buffer[] = [];
  for (let i = 0; i < lines; i++) {
    if (next(3) === 0) parts.push(echo(next));
    else for (let n = next(14); n >= 0; n--) parts.push(all[next(all.length)] ?? Buffer.alloc(0));
    parts.push(Buffer.from(next(2) === 0 ? '\x01\n' : '\n'));
  }
  return Buffer.concat(parts);
}

/** What the monitor says to a stream, reduced to what the parser decides. */
function peerEvents(data: Buffer): string[] {
  const input = Buffer.concat([Buffer.from(negotiation), data, Buffer.from('\x01\n{"execute":"quit","id":"bye"}\n')]);
  const args = ['--chardev', 'stdio,id=c', '--monitor', 'chardev=c'];
  const done = spawnSync(peer('qemu-storage-daemon'), args, { input, maxBuffer: 1 << 26, timeout: 100_000 });
  const events: string[] = [];
  for (const line of done.stdout.toString('utf8').split('\r\n').slice(2)) {
    if (line === '' || line.includes('"bye"')) continue;
    const desc = /"desc": ("(?:[^"\\]|\\.)*")/.exec(line)?.[1] ?? '';
    if (desc === '"QMP input must be a JSON object"') events.push('no object');
    else if (/JSON parse error|limit exceeded/.test(desc)) events.push(desc);
    else events.push(`object ${/^\{"id": (.*), "error": \{"class"/.exec(line)?.[1] ?? ''}`);
  }
  return events;
}

function ourEvents(data: Buffer, chunk: number): string[] {
  const events: string[] = [];
  const stream = new JsonStream(
    (value) => events.push(isJsonObject(value) ? `object ${'id' in value ? writeJson(value['id']) : ''}` : 'no object'),
    (error) => events.push(writeJson(error.message)),
  );
  const input = Buffer.concat([Buffer.from(negotiation), data, Buffer.from('\x01\n')]);
  for (let at = 0; at < input.length; at += chunk) stream.feed(input.subarray(at, at + chunk));
  return events.slice(1);
}

describeWithPeers(['qemu-storage-daemon'], 'JSON as the monitor of qemu-storage-daemon reads it', () => {
  it.each([1, 2, 3, 4, 5, 6])('gives the same errors, positions and values for random text, seed %d', (seed) => {
    const data = soup(seed, 400);
    const theirs = peerEvents(data);
    expect(theirs.length).toBeGreaterThan(400);
    expect(ourEvents(data, 1 + seed)).toEqual(theirs);
  });
});

const nullNode: Schema<unknown> = union('BlockdevOptions', {
  base: {
    driver: enumOf('BlockdevDriver', ['null-co', 'file']),
    'node-name': optional(str),
    cache: optional(struct('BlockdevCacheOptions', { direct: optional(bool), 'no-flush': optional(bool) })),
    'read-only': optional(bool),
    'detect-zeroes': optional(enumOf('DetectZeroes', ['off', 'on', 'unmap'])),
  },
  tag: 'driver',
  branches: { 'null-co': { size: optional(int64), 'latency-ns': optional(uint64), 'read-zeroes': optional(bool) }, file: { filename: str } },
});

describeWithPeers(['qemu-storage-daemon'], 'option strings as --blockdev of qemu-storage-daemon reads them', () => {
  const common = 'driver=null-co,node-name=a';
  const texts = [
    ...['size=1M', 'size=', 'size=0x10', 'size=1.5', 'size=1e3', 'latency-ns=x', 'read-zeroes=On', 'read-zeroes', 'cache=5', 'cache.direct=maybe', 'cache.x=1'],
    ...[
      'cache.0=1',
      'size.a=5',
      'detect-zeroes=zz',
      'detect-zeroes.a=1',
      'foo=1',
      'foo.a=1',
      'size=1,size.a=1',
      'a..b=1',
      '.a=1',
      'a.=1',
      '=1',
      '9=1',
      'a=1,,b=2',
    ],
    ...[
      'cache.direct.x=1',
      'size=5,,',
      '_x=5',
      '__proto__x=1',
      '__a_b=1',
      'a.1=1',
      'a.0=1,a.x=1',
      'a.0=1,a.2=1',
      'a.01=1',
      'aa=1,bb=2,cc=3,dd=4,ee=5',
      'read-only=yes,zz=1',
    ],
  ].map((rest) => `${common},${rest}`);
  const whole = [
    'null-co,,x',
    ',node-name=x',
    'a=b',
    '{}',
    '{"driver"',
    '{"driver":5}',
    '{"driver":"null-co","node-name":"x","size":"5"}',
    '[]',
    'file',
    'help',
    'null-co,?',
  ];

  it.each([...texts, ...whole])('%s', (text) => {
    const done = runSync(peer('qemu-storage-daemon'), ['--blockdev', text, '--monitor', 'nosuch']);
    const first = (done.stderr.split('\n')[0] ?? '').replace('qemu-storage-daemon: ', '').replace(`--blockdev ${text}: `, '');
    let ours = 'chardev "nosuch" not found';
    try {
      parseOptionArgument(nullNode, text, 'driver');
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      ours = error.message;
    }
    expect(ours).toBe(first.replace('--monitor nosuch: ', ''));
  });
});

describeWithPeers(['qemu-img'], 'sizes as qemu-img reads them', () => {
  it('accepts, rounds and refuses the same texts', () => {
    const next = random(7);
    const texts = [
      '1.0',
      '.5',
      '.5k',
      '5.M',
      '0.3k',
      '0.7k',
      '-1',
      '-0',
      '1e',
      '0x1F',
      '0x1k',
      '010',
      '7.9999E',
      '8388607T',
      '8388608T',
      '99999999999999999999k',
      '',
      ' 1',
      '1 ',
      '+1',
      '+.5k',
      '1.999999k',
    ];
    const letters = [...'0123456789.kKmMgGtTbBxe+- '];
    for (let i = 0; i < 60; i++) texts.push(Array.from({ length: 1 + next(5) }, () => letters[next(letters.length)]).join(''));
    using folder = tempFolder('size');
    for (const text of texts) {
      let ours: string;
      try {
        ours = `size=${parseSizeExact(text, 'image size')}`;
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        ours = `qemu-img: ${error.message}`;
      }
      const done = runSync(peer('qemu-img'), ['create', '-f', 'raw', folder.file('x'), '--', text]);
      const theirs = /size=\d+/.exec(done.stdout)?.[0] ?? done.stderr.split('\n')[0];
      expect({ text, result: ours }).toEqual({ text, result: theirs });
    }
  });
});

const createOptions = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: '' },
  options: { short: 'o', arg: 'OPTS', help: '' },
  backing: { short: 'b', arg: 'FILE', help: '' },
  backingFormat: { short: 'B', also: ['F'], arg: 'FMT', help: '' },
  backingUnsafe: { short: 'u', help: '' },
  quiet: { short: 'q', help: '' },
  object: { arg: 'OBJDEF', help: '' },
});

describeWithPeers(['qemu-img'], 'command lines as qemu-img reads them', () => {
  it('finds the same mistake in random command lines', () => {
    const words = [
      '-f',
      '-fqcow2',
      '-q',
      '-qu',
      '-qZ',
      '-Z',
      '-o',
      '--o',
      '--opt=a',
      '--form',
      '--format=x',
      '--qui=1',
      '--quiet',
      '--ba',
      '--backing',
      '--backing-f',
      '--foo',
      '--foo=1',
      '-',
      'x',
      '-1',
      '--=5',
      '-b',
      '-uqB',
      '-F',
    ];
    const next = random(11);
    let mistakes = 0;
    for (let i = 0; i < 80; i++) {
      const argv = Array.from({ length: 1 + next(4) }, () => words[next(words.length)] ?? '');
      let ours = 'no mistake';
      try {
        parseOptions(argv, createOptions);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        ours = `qemu-img create: ${error.message}`;
      }
      // a last option that certainly is wrong, so that the peer never gets to work
      const stop = runSync(peer('qemu-img'), ['create', ...argv, ...(ours === 'no mistake' ? ['--nosuch'] : [])]).stderr.split('\n')[0];
      expect({ argv, mistake: ours === 'no mistake' ? "qemu-img create: unrecognized option '--nosuch'" : ours }).toEqual({ argv, mistake: stop });
      if (ours !== 'no mistake') mistakes++;
    }
    expect(mistakes).toBeGreaterThan(20);
  });
});
