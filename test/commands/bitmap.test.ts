/* `bitmap`: the order of its actions, and what it says when the medium does not take the bitmaps at the end. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { main } from '../../src/commands/tsimg.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { Bitmaps } from '../../src/qcow2/bitmaps-store.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let stdout = '';
let stderr = '';

beforeEach(async () => {
  folder = tempFolder('bitmap-command');
  await tsimg('create', '-q', '-f', 'qcow2', folder.file('a'), '4M');
});
afterEach(() => {
  vi.restoreAllMocks();
  folder[Symbol.dispose]();
});

async function tsimg(...words: string[]): Promise<number> {
  stdout = '';
  stderr = '';
  const take = (add: (text: string) => void) => ({
    write: (text: string | Uint8Array) => add(typeof text === 'string' ? text : Buffer.from(text).toString()),
  });
  return main(words, 'tsimg', {
    stdout: take((text) => {
      stdout += text;
    }),
    stderr: take((text) => {
      stderr += text;
    }),
  });
}

/** Names and flags, in the order of the directory. */
async function bitmaps(): Promise<string> {
  await tsimg('info', '--output=json', folder.file('a'));
  const found = JSON.parse(stdout)['format-specific'].data.bitmaps ?? [];
  return found
    .map(({ name, flags, granularity }: { name: string; flags: string[]; granularity: number }) => [name, granularity, ...flags].join(' '))
    .join(', ');
}

it('carries its actions out in the order given', async () => {
  expect(await tsimg('bitmap', '--add', '--disable', '-g', '4k', folder.file('a'), 'one')).toBe(0);
  expect(await tsimg('bitmap', '--add', '--merge', 'one', folder.file('a'), 'two')).toBe(0);
  expect(await bitmaps()).toBe('one 4096, two 65536 auto');
  expect(await tsimg('bitmap', '--remove-all', '--add', folder.file('a'), 'three')).toBe(0);
  expect(await bitmaps()).toBe('three 65536 auto');
});

it('keeps what came before the action that fails', async () => {
  expect(await tsimg('bitmap', '--add', '--merge', 'nope', '--remove', folder.file('a'), 'one')).toBe(1);
  expect(stderr).toBe("tsimg: Operation merge on bitmap one failed: Dirty bitmap 'nope' not found\n");
  expect(await bitmaps()).toBe('one 65536 auto');
});

it('tells of bitmaps that are lost, and fails', async () => {
  await tsimg('bitmap', '--add', folder.file('a'), 'one');
  vi.spyOn(Bitmaps.prototype, 'store').mockRejectedValue(new BlockError('No space left on device', { code: 'ENOSPC' }));
  expect(await tsimg('bitmap', '--clear', folder.file('a'), 'one')).toBe(1);
  const lost = /^tsimg: Lost persistent bitmaps during inactivation of node '#block\d+': No space left on device$/;
  expect(stderr.trimEnd().split('\n')).toEqual([
    expect.stringMatching(lost),
    'tsimg: Error while closing the image: Invalid argument',
    expect.stringMatching(lost),
  ]);
  vi.restoreAllMocks();
  expect(await bitmaps()).toBe('one 65536 in-use auto');
});

it('copies bitmaps with an image, and leaves inconsistent ones out when asked to', async () => {
  await tsimg('bitmap', '--add', '--disable', folder.file('a'), 'one');
  expect(await tsimg('convert', '--bitmaps', '-O', 'qcow2', folder.file('a'), folder.file('b'))).toBe(0);
  expect(readFileSync(folder.file('b'), 'latin1')).toContain('one');
  vi.spyOn(Bitmaps.prototype, 'store').mockRejectedValue(new BlockError('Input/output error', { code: 'EIO' }));
  await tsimg('bitmap', '--clear', folder.file('a'), 'one');
  vi.restoreAllMocks();
  expect(await tsimg('convert', '--bitmaps', '-O', 'qcow2', folder.file('a'), folder.file('c'))).toBe(1);
  expect(stderr).toBe("tsimg: Cannot copy inconsistent bitmap 'one'\nTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n");
  expect(await tsimg('convert', '--bitmaps', '--skip-broken-bitmaps', '-O', 'qcow2', folder.file('a'), folder.file('c'))).toBe(0);
  expect(stderr).toBe("tsimg: warning: Skipping inconsistent bitmap 'one'\n");
});
