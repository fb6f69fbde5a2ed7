import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatFixed, formatGeneral } from '../../../src/core/util/printf.ts';

describe('numbers as printf writes them', () => {
  it.each([
    [0.125, 2, '0.12'],
    [0.375, 2, '0.38'],
    [99.995, 2, '100.00'],
    [2.5, 0, '2'],
    [3.5, 0, '4'],
    [-0, 2, '-0.00'],
    [1e21, 1, '1000000000000000000000.0'],
    [Number.NaN, 2, 'nan'],
    [-Infinity, 2, '-inf'],
  ])('%%f: %d with %d digits is %s', (value, digits, text) => {
    expect(formatFixed(value, digits)).toBe(text);
  });

  it.each([
    [1.125, 3, '1.12'],
    [0.9765625, 3, '0.977'],
    [999.7, 3, '1e+03'],
    [999.4, 3, '999'],
    [0, 3, '0'],
    [1e-5, 3, '1e-05'],
    [0.0001, 3, '0.0001'],
    [1e17, 17, '1e+17'],
    [1e16, 17, '10000000000000000'],
    [1.1, 17, '1.1000000000000001'],
    [5e-324, 17, '4.9406564584124654e-324'],
  ])('%%g: %d with %d digits is %s', (value, precision, text) => {
    expect(formatGeneral(value, precision)).toBe(text);
  });

  it('writes 17 digits that read back as the same number', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Number(formatGeneral(value, 17))).toBe(value);
      }),
    );
  });

  it('agrees with toFixed wherever there is no tie', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1_000_000, max: 1_000_000 }), fc.integer({ min: 1, max: 997 }), (a, b) => {
        const value = a / b;
        fc.pre(!Number.isInteger(value * 2000));
        expect(formatFixed(value, 2)).toBe(value.toFixed(2));
      }),
    );
  });
});
