import { describe, expect, it } from 'vitest';
import { asksForHelp, CreationOptions, checkOptionList } from '../../src/commands/create-options.ts';
import type { BlockDriver } from '../../src/core/block/driver.ts';

const driver: BlockDriver = {
  name: 'test',
  kind: 'format',
  open: () => Promise.reject(new Error('never opened')),
  createOptions: [
    { name: 'backing_file', type: 'string', help: 'below' },
    { name: 'lazy', type: 'bool', help: 'later', defaultText: 'off' },
    { name: 'size', type: 'size', help: 'bytes' },
    { name: 'bits', type: 'number', help: 'width', defaultText: '16' },
  ],
};

function options(list: string): CreationOptions {
  const values = new CreationOptions(driver);
  values.parse(list);
  return values;
}

describe('a list of creation options', () => {
  it('is shown in the order of the format, with defaults, booleans as typed', () => {
    expect(options('size=1k,lazy=yes').formatting()).toBe('lazy=yes size=1024 bits=16');
    expect(options('backing_file=a,,b').formatting()).toBe('backing_file=a,,b lazy=off bits=16');
  });

  it('takes a word alone as on, and one that begins with no as off', () => {
    expect(options('lazy').forDriver()).toEqual({ lazy: true });
    expect(options('nolazy').forDriver()).toEqual({ lazy: false });
  });

  it('takes the options of the file below too', () => {
    expect(options('nocow=on').forDriver()).toEqual({ nocow: true });
  });

  it('gives the driver whole sectors', () => {
    expect(options('size=5').forDriver()).toEqual({ size: 512 });
    expect(options('size=5').formatting()).toContain('size=5 ');
  });

  it.each([
    ['nope=1', "Invalid parameter 'nope'"],
    ['lazy=maybe', "Parameter 'lazy' expects 'on' or 'off'"],
    ['bits=x', "Parameter 'bits' expects a number"],
    ['size=x', "Parameter 'size' expects a non-negative number below 2^64"],
    ['size=-1', "Value '-1' is out of range for parameter 'size'"],
  ])('refuses %s', (list, message) => {
    expect(() => options(list)).toThrow(message);
  });
});

it.each(['', ',a', 'a,', 'a,,,'])('%j is no list', (text) => {
  expect(() => checkOptionList(text)).toThrow(`Invalid option list: ${text}`);
});

it('finds the word help anywhere in a list', () => {
  expect(asksForHelp('a=b,help,c')).toBe(true);
  expect(asksForHelp('?')).toBe(true);
  expect(asksForHelp('a=help')).toBe(false);
  expect(asksForHelp(undefined)).toBe(false);
});
