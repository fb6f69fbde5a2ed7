/*
 * The programs where koffi is not installed: a copy of dist/ in a folder from which no package can be found. Holes are then
 * seen by reading, and image locks are neither taken nor respected.
 */
import { closeSync, cpSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { builtProgram, type Finished, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

describe('without koffi', () => {
  let folder: TempFolder;
  beforeAll(() => {
    folder = tempFolder('without-koffi');
    cpSync(join(builtProgram('tsimg'), '..'), folder.file('dist'), { recursive: true });
    const fd = openSync(folder.file('sparse.raw'), 'w');
    writeSync(fd, Buffer.alloc(65536, 0x5a), 0, 65536, 1048576);
    ftruncateSync(fd, 4194304);
    closeSync(fd);
  });
  afterAll(() => folder[Symbol.dispose]());

  const tsimg = (...args: string[]): Promise<Finished> => run(process.execPath, [folder.file('dist/tsimg.cjs'), ...args], { cwd: folder.path });

  it('really finds no koffi there', async () => {
    const { code, stderr } = await run(process.execPath, ['-e', "require('koffi')"], { cwd: folder.file('dist') });
    expect(code).toBe(1);
    expect(stderr).toMatch(/Cannot find module 'koffi'/);
  });

  it('map shows a sparse file, all of it as data or with its zeros', async () => {
    const { code, stdout, stderr } = await tsimg('map', '-f', 'raw', '--output=json', 'sparse.raw');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const extents = JSON.parse(stdout) as { start: number; length: number; data: boolean; zero: boolean }[];
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(4194304);
    const data = extents.find(({ start, length }) => start <= 1048576 && start + length >= 1048576 + 65536);
    expect(data).toMatchObject({ data: true, zero: false });
  });

  it('convert and compare give the same data, and the copy is sparse', async () => {
    expect(await tsimg('convert', '-f', 'raw', '-O', 'qcow2', 'sparse.raw', 'copy.qcow2')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await tsimg('compare', '-f', 'raw', '-F', 'qcow2', 'sparse.raw', 'copy.qcow2')).toEqual({ code: 0, stdout: 'Images are identical.\n', stderr: '' });
    const map = await tsimg('map', '-f', 'qcow2', '--output=json', 'copy.qcow2');
    const extents = JSON.parse(map.stdout) as { start: number; length: number; present: boolean }[];
    expect(extents.filter(({ present }) => present)).toMatchObject([{ start: 1048576, length: 65536 }]);
    expect(await tsimg('check', 'copy.qcow2')).toMatchObject({ code: 0, stderr: '' });
  });

  it('opens an image that another process has locked, without a word', async () => {
    expect(await tsimg('create', '-q', '-f', 'qcow2', 'b.qcow2', '1M')).toEqual({ code: 0, stdout: '', stderr: '' });
    await using engine = new Engine();
    await engine.openBackend({ filename: folder.file('b.qcow2'), format: 'qcow2', readOnly: false });
    const refused = await run(process.execPath, [builtProgram('tsimg'), 'check', '-r', 'all', folder.file('b.qcow2')]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('lock') });
    expect(await tsimg('check', '-r', 'all', 'b.qcow2')).toMatchObject({ code: 0, stderr: '' });
  });
});
