/* Which requests are refused, in which order the reasons are looked at, and that numbers near 2^53 and 2^64 are exact. */
import { describe, expect, it } from 'vitest';
import { NbdExport } from '../../src/nbd/export.ts';
import { structuredFraming } from '../../src/nbd/framing.ts';
import { type Refusal, refusalOf } from '../../src/nbd/request-check.ts';
import { emptyRequest } from '../../src/nbd/wire.ts';
import { cmd } from '../support/nbd-client.ts';
import { FakeBackend } from '../support/nbd-fake.ts';
import { type RequestOptions, requestBytes } from '../support/nbd-memory.ts';

const size = 1024;
const max = 33554432;
const writable = new NbdExport({ name: 'x', backend: new FakeBackend(size), writable: true });
const readOnly = new NbdExport({ name: 'x', backend: new FakeBackend(size) });

interface Given extends RequestOptions {
  readonly exp?: NbdExport;
  readonly structured?: boolean;
  readonly contexts?: boolean;
}

function check(
  type: number,
  offset: number | bigint,
  length: number,
  { exp = writable, structured = true, contexts = true, ...how }: Given = {},
): Refusal | undefined {
  const request = emptyRequest();
  structuredFraming.decodeRequest(requestBytes(type, offset, length, how), 0, request);
  return refusalOf(request, exp, structured, contexts);
}

/** Error number and text, `!` for a fatal one; `fine` when it is not refused. */
function said(...given: Parameters<typeof check>): string {
  const refusal = check(...given);
  return refusal === undefined ? 'fine' : `${refusal.errno} ${refusal.message}${refusal.isFatal ? '!' : ''}`;
}

const eof = (from: number | bigint, length: number, of = size): string => `operation past EOF; From: ${from}, Len: ${length}, Size: ${of}`;
const all = [cmd.read, cmd.write, cmd.flush, cmd.trim, cmd.cache, cmd.zeroes, cmd.status];

describe('ranges', () => {
  it.each(all)('of command %s may touch the end, and not pass it', (type) => {
    const errno = type === cmd.write || type === cmd.zeroes ? 28 : 22;
    expect(said(type, size - 1, 1)).toBe('fine');
    expect(said(type, 0, size)).toBe('fine');
    expect(said(type, size, 1)).toBe(`${errno} ${eof(size, 1)}`);
    expect(said(type, size - 1, 2)).toBe(`${errno} ${eof(size - 1, 2)}`);
    expect(said(type, size + 1, 0)).toBe(`${errno} ${eof(size + 1, 0)}`);
    if (type !== cmd.status) expect(said(type, size, 0)).toBe('fine');
  });

  it.each([2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 512n, 2n ** 32n])(
    'from %s on are told exactly, and never wrap',
    (offset) => {
      for (const length of [0, 1, 512, size]) expect(said(cmd.read, offset, length)).toBe(`22 ${eof(offset, length)}`);
    },
  );

  it('at the end of the largest disk are exact', () => {
    const backend = new FakeBackend(0);
    const vast = 2 ** 53 - 512;
    backend.size = () => vast;
    const exp = new NbdExport({ name: 'x', backend, writable: true });
    expect(said(cmd.read, vast - 512, 512, { exp })).toBe('fine');
    expect(said(cmd.read, vast - 511, 512, { exp })).toBe(`22 ${eof(vast - 511, 512, vast)}`);
    expect(said(cmd.write, 2n ** 53n, 1, { exp })).toBe(`28 ${eof(2n ** 53n, 1, vast)}`);
  });
});

describe('lengths', () => {
  const vast = new FakeBackend(0);
  vast.size = () => 2 ** 40;
  const exp = new NbdExport({ name: 'x', backend: vast, writable: true });
  it.each([
    [cmd.read, `22 len (${max + 1}) is larger than max len (${max})`],
    [cmd.write, `22 len (${max + 1}) is larger than max len (${max})!`],
    [cmd.cache, `22 len (${max + 1}) is larger than max len (${max})`],
    [cmd.trim, 'fine'],
    [cmd.zeroes, 'fine'],
    [cmd.flush, 'fine'],
    [cmd.status, 'fine'],
  ])('of command %s above the largest payload', (type, expected) => {
    expect(said(type, 0, max + 1, { exp })).toBe(expected);
    expect(said(type, 0, max, { exp })).toBe('fine');
  });
});

describe('flags', () => {
  const refused = (name: string, flags: number): string => `22 unsupported flags for command ${name} (got 0x${flags.toString(16)})`;
  it.each([
    [cmd.read, 'read', [0, 1, 4, 5]],
    [cmd.write, 'write', [0, 1]],
    [cmd.flush, 'flush', [0, 1]],
    [cmd.trim, 'trim', [0, 1]],
    [cmd.cache, 'cache', [0, 1]],
    [cmd.zeroes, 'write zeroes', [0, 1, 2, 3, 16, 17, 18, 19]],
    [cmd.status, 'block status', [0, 1, 8, 9]],
  ] as const)('of command %s (%s)', (type, name, valid) => {
    const flags = [...Array.from({ length: 64 }, (_, index) => index), 0x8000, 0xffff];
    for (const bits of flags) expect(said(type, 0, 512, { flags: bits })).toBe(valid.some((other) => other === bits) ? 'fine' : refused(name, bits));
  });

  it('DF is for structured replies', () => {
    expect(said(cmd.read, 0, 512, { flags: 4, structured: false })).toBe(refused('read', 4));
  });
});

describe('the rest', () => {
  it('magic comes first, and ends the stream', () => {
    expect(said(99, 2n ** 64n - 1n, 0, { magic: 0x25609512 })).toBe('22 invalid magic (got 0x25609512, expected 0x25609513)!');
  });

  it('read-only exports are changed by nobody', () => {
    const expected = all.map((type) => ([cmd.write, cmd.trim, cmd.zeroes].some((other) => other === type) ? '1 Export is read-only' : 'fine'));
    expect(all.map((type) => said(type, 0, 512, { exp: readOnly }))).toEqual(expected);
    expect(said(cmd.write, 2 * size, 512, { exp: readOnly, flags: 0x8000 })).toBe('1 Export is read-only');
    expect(said(cmd.write, 0, max + 1, { exp: readOnly })).toContain('is larger than max len');
  });

  it('ranges come before flags, flags before what is particular', () => {
    expect(said(cmd.read, size, 1, { flags: 0x8000 })).toBe(`22 ${eof(size, 1)}`);
    expect(said(cmd.status, 0, 0, { flags: 2, contexts: false })).toBe('22 unsupported flags for command block status (got 0x2)');
    expect(said(cmd.status, 0, 0, { contexts: false })).toBe('22 CMD_BLOCK_STATUS not negotiated');
    expect(said(cmd.status, 0, 0)).toBe('22 need non-zero length');
  });

  it('commands that nobody knows', () => {
    expect(said(8, 0, 0)).toBe('22 invalid request type (8) received');
    expect(said(65535, 0, 512, { flags: 1 })).toBe('22 invalid request type (65535) received');
    expect(said(8, 0, 0, { flags: 4 })).toBe('22 unsupported flags for command <unknown> (got 0x4)');
  });
});
