/* The words of the command line: bytes that Node loses are found again, and handed over to a second start. */
import { describe, expect, it } from 'vitest';
import { environmentOfWords, programWords } from '../../src/cli/argv.ts';

describe('words of the command line', () => {
  it('are taken as they are when Node could decode them', () => {
    expect(programWords(['node', 'script', 'a', 'ä'], { env: {} })).toEqual(['a', 'ä']);
  });

  it('are handed over in the environment when they are no text, and only then', () => {
    expect(environmentOfWords(['a', 'ä'])).toEqual({});
    const handed = environmentOfWords(['--x', 'b\udce4', '']);
    // whatever carries an environment carries this
    expect(Object.values(handed).every((value) => /^[\x20-\x7e]*$/.test(value))).toBe(true);
    expect(programWords(['node', 'script', 'lost'], { env: handed })).toEqual(['--x', 'b\udce4', '']);
  });

  const line = (...words: string[]): (() => Uint8Array) => {
    const bytes = Buffer.concat(words.map((word) => Buffer.from(`${word}00`, 'hex')));
    return () => bytes;
  };

  it.each([
    [['62e4'], ['b\udce4']],
    [
      ['', 'e4', '782079', 'c3a4', ''],
      ['', '\udce4', 'x y', 'ä', ''],
    ],
    // somebody typed U+FFFD
    [['efbfbd'], ['\ufffd']],
  ])('%j keep their bytes, whatever stands before them', (hex, expected) => {
    const lossy = hex.map((word) => Buffer.from(word, 'hex').toString('utf8'));
    expect(programWords(['node', 'script', ...lossy], { env: {}, commandLine: line('6e6f6465', 'e4', '2d78', ...hex) })).toEqual(expected);
  });

  it('stay as Node decoded them where the system keeps none', () => {
    expect(programWords(['node', 'script', '\ufffd'], { env: {}, commandLine: () => new Uint8Array(0) })).toEqual(['\ufffd']);
    expect(programWords(['node', 'script', '\ufffd', 'b'], { env: {}, commandLine: line('62') })).toEqual(['\ufffd', 'b']);
  });

  it('are not looked up when nothing was lost', () => {
    const never = (): Uint8Array => {
      throw new Error('looked up');
    };
    expect(programWords(['node', 'script', 'a', 'ä'], { env: {}, commandLine: never })).toEqual(['a', 'ä']);
  });
});
