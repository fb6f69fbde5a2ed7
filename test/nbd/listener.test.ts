/* A server whose predecessor died takes over its path. */
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NbdServer } from '../../src/nbd/server.ts';
import { run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let server: NbdServer;

beforeEach(() => {
  folder = tempFolder('listener');
  server = new NbdServer();
});
afterEach(async () => {
  await server.stop();
  folder[Symbol.dispose]();
});

it('takes over the path of a socket that its server left behind, and removes its own at the end', async () => {
  const path = folder.file('s');
  const left = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await run(process.execPath, ['-e', left]);
  expect(existsSync(path)).toBe(true);
  await server.start({ type: 'unix', path });
  await server.stop();
  expect(existsSync(path)).toBe(false);
});
