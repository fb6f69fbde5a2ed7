import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Engine } from '../../../src/engine/engine.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder('direct');
});
afterEach(() => folder[Symbol.dispose]());

const content = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7 + (i >> 8)) % 251));

it.each([['pooled', undefined] as const, ['synchronous', Number.POSITIVE_INFINITY] as const])(
  'reads any range of a file past the page cache (%s)',
  async (_, syncLimit) => {
    writeFileSync(folder.file('f'), content);
    await using engine = new Engine(syncLimit === undefined ? {} : { syncLimit });
    const backend = await engine.openBackend({ filename: folder.file('f'), format: 'raw', cache: { direct: true } });
    for (const [offset, length] of [
      [0, 512],
      [1, 1],
      [511, 2],
      [4095, 8194],
      [69_000, 1000],
      [0, 70_000],
    ] as const) {
      const into = new Uint8Array(length);
      await backend.read(offset, into);
      expect(Buffer.from(into).equals(content.subarray(offset, offset + length))).toBe(true);
    }
  },
);

it('writes any range of a file past the page cache', async () => {
  const size = 131_072;
  writeFileSync(folder.file('f'), Buffer.alloc(size));
  const expected = Buffer.alloc(size);
  {
    await using engine = new Engine();
    const backend = await engine.openBackend({ filename: folder.file('f'), format: 'raw', readOnly: false, cache: { direct: true } });
    for (const [offset, length] of [
      [0, 4096],
      [5000, 3],
      [8191, 9000],
      [100_000, 31_072],
    ] as const) {
      await backend.write(offset, content.subarray(0, length));
      expected.set(content.subarray(0, length), offset);
    }
    await Promise.all([1, 2, 3, 4].map((i) => backend.write(40_000 + i * 4096, content.subarray(i, i + 4096))));
    for (const i of [1, 2, 3, 4]) expected.set(content.subarray(i, i + 4096), 40_000 + i * 4096);
    await backend.flush();
  }
  expect(readFileSync(folder.file('f')).equals(expected)).toBe(true);
});
