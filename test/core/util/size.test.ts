import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../../src/core/util/errors.ts';
import { formatSize, parseSize, parseSizeExact, parseSizeOption, readSize } from '../../../src/core/util/size.ts';

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof BlockError) return error.detail === undefined ? error.message : `${error.message}\n${error.detail}`;
    throw error;
  }
  return 'no error';
}

describe('reading sizes', () => {
  it.each<[string, bigint | string]>([
    ['1', 1n],
    ['1.0', 1n],
    ['1.', 1n],
    ['.0', 0n],
    ['.5k', 512n],
    ['1.5k', 1536n],
    ['5.M', 5242880n],
    ['0.3k', 307n],
    ['1e', 1152921504606846976n],
    ['0x1F', 31n],
    ['0x1e', 30n],
    ['010', 10n],
    [' +1b', 1n],
    ['7.99999999999999999999E', 9223372036854775808n],
    ['7.9999999999999999E', 9223372036854775680n],
    ['0.00000000000000001E', 12n],
    ['0.7k', 717n],
    ['0.00048828125k', 1n],
    ['1.5', 'invalid'],
    ['1.1b', 'invalid'],
    ['0x1k', 'invalid'],
    ['1KB', 'invalid'],
    ['1e3', 'invalid'],
    ['1 M', 'invalid'],
    ['1M ', 'invalid'],
    ['+.5k', 512n],
    ['', 'invalid'],
    ['k', 'invalid'],
    ['-1k', 'invalid'],
    ['-0x1', 'invalid'],
    ['99999999999999999999k', 'invalid'],
    ['-0', 'range'],
    ['-1', 'range'],
    ['-.5', 'range'],
    ['-1.5', 'invalid'],
    ['16E', 'range'],
    ['18446744073709551616', 'range'],
  ])('%j is %s', (text, value) => {
    expect(readSize(text)).toBe(value);
  });

  it('words errors as operands and as options do', () => {
    expect(message(() => parseSizeExact('1.5', 'image size'))).toBe("Invalid image size specified: '1.5'");
    expect(message(() => parseSizeExact('8E', 'image size'))).toBe('Invalid image size specified. Must be between 0 and 9223372036854775807.');
    expect(message(() => parseSizeExact('17', 'number of coroutines', { min: 1, max: 16 }))).toBe(
      'Invalid number of coroutines specified. Must be between 1 and 16.',
    );
    expect(message(() => parseSizeOption('cluster_size', '-1'))).toBe("Value '-1' is out of range for parameter 'cluster_size'");
    expect(message(() => parseSizeOption('size', 'x'))).toBe(
      "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
    );
    expect(message(() => parseSize('1E', 'offset'))).toBe('Invalid offset specified. Values above 9007199254740991 are not supported.');
    expect(parseSizeExact('9223372036854775807', 'image size')).toBe(9223372036854775807n);
    expect(parseSize('4k', 'offset')).toBe(4096);
  });

  it('never throws anything but its own errors', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        message(() => parseSize(text, 'x'));
        message(() => parseSizeOption('x', text));
      }),
    );
  });
});

describe('printing sizes', () => {
  it.each<[number | bigint, string]>([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.977 KiB'],
    [1023, '0.999 KiB'],
    [1024, '1 KiB'],
    [1152, '1.12 KiB'],
    [197120, '192 KiB'],
    [1048576, '1 MiB'],
    [1023693, '1e+03 KiB'],
    [10737418240, '10 GiB'],
    [2 ** 53 - 1, '8 PiB'],
    [2n ** 62n, '4 EiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
