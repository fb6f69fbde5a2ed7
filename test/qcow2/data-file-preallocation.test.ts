/* Preallocation of an image whose data lie in a file of their own: the blocks are that file's. */
import { statSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createImage } from '../../src/engine/create.ts';
import { Engine } from '../../src/engine/engine.ts';
import { tempFolder } from '../support/tmp.ts';

const size = 1 << 20;

it.each([
  ['off', false],
  ['metadata', false],
  ['full', true],
] as const)('preallocation=%s', async (preallocation, hasBlocks) => {
  using folder = tempFolder('data-file');
  await using engine = new Engine();
  await createImage(engine, 'qcow2', folder.file('image'), { size, preallocation, data_file: folder.file('data') });
  const { size: length, blocks } = statSync(folder.file('data'));
  expect([length, blocks * 512 >= size]).toEqual([size, hasBlocks]);
  expect(statSync(folder.file('image')).size).toBeLessThan(size);
});
