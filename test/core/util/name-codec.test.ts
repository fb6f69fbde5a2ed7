/* Names as strings and back: every sequence of bytes comes back as it was, and text looks like text. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeName, encodeName, isTextName, systemName } from '../../../src/core/util/name-codec.ts';

describe('names', () => {
  it('come back byte by byte, whatever they hold', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.string({ unit: 'grapheme', maxLength: 3 }).map((text) => Buffer.from(text)),
      // an encoded surrogate, an overlong form, beyond U+10FFFF, sequences cut short
      fc.constantFrom(...['edb380', 'eda080', 'c080', 'f5808080', 'e28', 'f09f98', 'ff', 'c3'].map((hex) => Buffer.from(hex, 'hex'))),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const bytes = Buffer.concat(pieces);
        expect(encodeName(decodeName(bytes)).equals(bytes)).toBe(true);
      }),
      { numRuns: 2000, seed: 7 },
    );
  });

  it.each([
    ['61e4', 'a\udce4'],
    ['e4', '\udce4'],
    ['80ff', '\udc80\udcff'],
    ['c3a4', 'ä'],
    ['f09f9880', '😀'],
    ['f09f98', '\udcf0\udc9f\udc98'],
    ['e461c3a4', '\udce4aä'],
    ['edb380', '\udced\udcb3\udc80'],
    ['', ''],
  ])('%s reads as %j', (hex, text) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(decodeName(bytes)).toBe(text);
    expect(encodeName(text).toString('hex')).toBe(hex);
  });

  it('keeps pairs together and writes other lone surrogates as U+FFFD', () => {
    expect(encodeName('😀\udce4').toString('hex')).toBe('f09f9880e4');
    expect(encodeName('\ud83d\udce4').toString('hex')).toBe(Buffer.from('\ud83d\udce4').toString('hex'));
    expect(encodeName('\ud800a\udc80').toString('hex')).toBe('efbfbd6180');
    expect(encodeName('\udc7f\udd00').toString('hex')).toBe('efbfbdefbfbd');
  });

  it('go to the system as text where they are text', () => {
    expect(systemName('ä')).toBe('ä');
    expect(systemName('a\udce4')).toEqual(Buffer.from('61e4', 'hex'));
    expect(isTextName('ä😀')).toBe(true);
    expect(isTextName('a\udce4')).toBe(false);
  });
});
