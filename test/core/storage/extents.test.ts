/* Data and holes of a file: what was seen to be data is remembered, and forgotten where we make a hole. */
import { statSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { localStorage } from '../../../src/core/storage/local-open.ts';
import { loadSyscalls } from '../../../src/core/storage/syscalls.ts';
import { tempFolder } from '../../support/tmp.ts';

const block = 65536;

it.runIf(loadSyscalls() !== undefined)('a hole made by ourselves shows, whatever was seen before', async () => {
  using folder = tempFolder('extents');
  const path = folder.file('f');
  writeFileSync(path, Buffer.alloc(8 * block, 1));
  await using file = await localStorage()(path, { readOnly: false, create: 'never', direct: false, noFlush: true, locking: 'off' });
  expect(file.extents(0, 8 * block)).toEqual({ data: true, length: 8 * block });
  // inside what is known, and shortened to what was asked
  expect(file.extents(block, 2 * block)).toEqual({ data: true, length: 2 * block });
  await file.discard(2 * block, block);
  // a file system without holes has nothing to show
  if (statSync(path).blocks * 512 >= 8 * block) return;
  expect(file.extents(0, 8 * block)).toEqual({ data: true, length: 2 * block });
  expect(file.extents(2 * block, block)).toEqual({ data: false, length: block });
  expect(file.extents(3 * block, 5 * block)).toEqual({ data: true, length: 5 * block });
  await file.zero(4 * block, block, true);
  expect(file.extents(4 * block, block)).toEqual({ data: false, length: block });
  expect(file.extents(5 * block, 3 * block)).toEqual({ data: true, length: 3 * block });
  await file.truncate(6 * block, 'off');
  await file.truncate(8 * block, 'off');
  expect(file.extents(6 * block, 2 * block)).toEqual({ data: false, length: 2 * block });
});
