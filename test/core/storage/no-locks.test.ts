/* A system without image locks: everything works, and debug output says so once. */
import { writeFileSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { withoutSyscalls } from '../../../src/core/storage/syscalls.ts';
import { setDebugOutput } from '../../../src/core/util/debug.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { tempFolder } from '../../support/tmp.ts';

afterEach(() => setDebugOutput(undefined));

it('is told once in debug output, however many images are opened', async () => {
  using folder = tempFolder('no-locks');
  using _ = withoutSyscalls();
  const lines: string[] = [];
  setDebugOutput((line) => lines.push(line));
  await using engine = new Engine();
  for (const name of ['a', 'b']) {
    writeFileSync(folder.file(name), new Uint8Array(65536));
    const backend = await engine.openBackend({ filename: folder.file(name), format: 'raw', readOnly: false });
    await backend.write(0, new Uint8Array(512).fill(1));
  }
  expect(lines).toEqual([expect.stringMatching(/^no image locks here/)]);
});

it('is not told where locks were not asked for', async () => {
  using folder = tempFolder('no-locks');
  using _ = withoutSyscalls();
  const lines: string[] = [];
  setDebugOutput((line) => lines.push(line));
  await using engine = new Engine();
  writeFileSync(folder.file('a'), new Uint8Array(65536));
  const filename = `json:${JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: folder.file('a'), locking: 'off' } })}`;
  await engine.openBackend({ filename, readOnly: false });
  expect(lines).toEqual([]);
});
