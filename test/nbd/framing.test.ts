/* The layouts of transmission, byte by byte, for each framing; and the numbers that a session asks of them. */
import { describe, expect, it } from 'vitest';
import { Extents } from '../../src/nbd/extents.ts';
import { type Framing, simpleFraming, structuredFraming } from '../../src/nbd/framing.ts';
import { emptyRequest, offsetText, type RequestHeader } from '../../src/nbd/wire.ts';

const cookie = '0102030405060708';
const request: RequestHeader = { ...emptyRequest(), cookieHigh: 0x01020304, cookieLow: 0x05060708 };

/** What `encode` writes at 3 of a buffer of ones; it must leave everything else alone. */
function written(size: number, encode: (bytes: Uint8Array, at: number) => void): string {
  const bytes = Buffer.alloc(size + 8, 0xee);
  encode(bytes, 3);
  expect(bytes.toString('hex', 0, 3) + bytes.toString('hex', size + 3)).toBe('ee'.repeat(8));
  return bytes.toString('hex', 3, size + 3);
}

const simple = (errno: string): string => `67446698${errno}${cookie}`;

describe.each([
  ['simple', simpleFraming],
  ['structured', structuredFraming],
] as const)('%s framing', (_name, framing: Framing) => {
  it('decodes every field of a request, offsets above 2^53 included', () => {
    const into = emptyRequest();
    expect(framing.requestSize).toBe(28);
    framing.decodeRequest(Buffer.from(`ff2560951300090007${cookie}fffffffffffffffe80000001`, 'hex'), 1, into);
    expect(into).toEqual({
      magic: 0x25609513,
      flags: 9,
      type: 7,
      cookieHigh: 0x01020304,
      cookieLow: 0x05060708,
      offset: 2 ** 64,
      offsetHigh: 0xffffffff,
      offsetLow: 0xfffffffe,
      length: 0x80000001,
    });
    expect(offsetText(into)).toBe('18446744073709551614');
    framing.decodeRequest(Buffer.from(`2560951300000000${cookie}0000000200000003000003e8`, 'hex'), 0, into);
    expect([into.offset, into.length, offsetText(into)]).toEqual([2 * 2 ** 32 + 3, 1000, '8589934595']);
  });

  it('answers success without data with a simple reply', () => {
    expect(framing.doneSize).toBe(16);
    expect(written(16, (bytes, at) => framing.encodeDone(bytes, at, request))).toBe(simple('00000000'));
  });
});

describe('simple framing', () => {
  it('puts the same 16 bytes before data, for nothing, and for an error without its text', () => {
    expect([simpleFraming.emptySize, simpleFraming.dataSize, simpleFraming.errorSize(Buffer.from('text'))]).toEqual([16, 16, 16]);
    expect(written(16, (bytes, at) => simpleFraming.encodeEmpty(bytes, at, request))).toBe(simple('00000000'));
    expect(written(16, (bytes, at) => simpleFraming.encodeData(bytes, at, request, 512, 512, true))).toBe(simple('00000000'));
    expect(written(16, (bytes, at) => simpleFraming.encodeError(bytes, at, request, 0x1c, Buffer.from('text')))).toBe(simple('0000001c'));
  });

  it('has no chunks', () => {
    expect(simpleFraming.chunks).toBeUndefined();
  });
});

describe('structured framing', () => {
  const chunk = (flags: string, type: string, length: string): string => `668e33ef${flags}${type}${cookie}${length}`;

  it('lays out data, the last of it marked', () => {
    expect(structuredFraming.dataSize).toBe(28);
    const offset = '0000010000000001';
    const at40 = 2 ** 40 + 1;
    expect(written(28, (bytes, at) => structuredFraming.encodeData(bytes, at, request, at40, 512, true))).toBe(chunk('0001', '0001', '00000208') + offset);
    expect(written(28, (bytes, at) => structuredFraming.encodeData(bytes, at, request, at40, 1, false))).toBe(chunk('0000', '0001', '00000009') + offset);
  });

  it('lays out the answer to a read of nothing', () => {
    expect(structuredFraming.emptySize).toBe(20);
    expect(written(20, (bytes, at) => structuredFraming.encodeEmpty(bytes, at, request))).toBe(chunk('0001', '0000', '00000000'));
  });

  it('lays out errors with their text', () => {
    const text = Buffer.from('no');
    expect(structuredFraming.errorSize(text)).toBe(28);
    expect(written(28, (bytes, at) => structuredFraming.encodeError(bytes, at, request, 22, text))).toBe(
      `${chunk('0001', '8001', '00000008')}00000016` + `0002${text.toString('hex')}`,
    );
  });

  it('lays out holes and extents', () => {
    const { chunks } = structuredFraming;
    if (chunks === undefined) throw new Error('no chunks');
    expect(chunks.holeSize).toBe(32);
    expect(written(32, (bytes, at) => chunks.encodeHole(bytes, at, request, 4096, 0x80000000, false))).toBe(
      `${chunk('0000', '0002', '0000000c')}000000000000100080000000`,
    );
    expect(written(32, (bytes, at) => chunks.encodeHole(bytes, at, request, 0, 1, true))).toBe(`${chunk('0001', '0002', '0000000c')}000000000000000000000001`);
    const extents = new Extents();
    extents.add(0xffff0000, 3);
    extents.add(512, 0);
    expect(chunks.statusSize(extents)).toBe(40);
    expect(written(40, (bytes, at) => chunks.encodeStatus(bytes, at, request, 7, extents, true))).toBe(
      `${chunk('0001', '0005', '00000014')}00000007ffff0000000000030000020000000000`,
    );
    expect(written(40, (bytes, at) => chunks.encodeStatus(bytes, at, request, 7, extents, false)).slice(8, 12)).toBe('0000');
  });
});
