/* tsimg as a process: what the comparison with the peer cannot hold, since the peer fails there or does not end. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { builtProgram, type Finished, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder('tsimg');
});
afterEach(() => folder[Symbol.dispose]());

const tsimg = (...args: string[]): Promise<Finished> => run(process.execPath, [builtProgram('tsimg'), ...args], { cwd: folder.path });

async function made(...args: string[]): Promise<void> {
  expect(await tsimg('create', '-q', ...args)).toEqual({ code: 0, stdout: '', stderr: '' });
}

it('speaks under the name of the link it was started by', async () => {
  const link = join(folder.path, 'qemu-img');
  symlinkSync(builtProgram('tsimg'), link);
  const { code, stdout, stderr } = await run(process.execPath, [link, 'info'], { cwd: folder.path });
  expect([code, stdout, stderr]).toEqual([1, '', "qemu-img: Expecting one image file name\nTry 'qemu-img info --help' for more information\n"]);
});

it.each(['map', 'check'])('%s refuses a backing chain that loops', async (command) => {
  await made('-f', 'qcow2', '-u', '-b', 'two', '-F', 'qcow2', 'one', '1M');
  await made('-f', 'qcow2', '-u', '-b', 'one', '-F', 'qcow2', 'two', '1M');
  const { code, stderr } = await tsimg(command, 'one');
  expect(code).toBe(1);
  expect(stderr).toBe("tsimg: Could not open 'one': Could not open backing file: Could not open backing file: Backing file 'one' creates an infinite loop.\n");
});

it('a compressed copy into a format without compression is refused before anything is made', async () => {
  await made('-f', 'qcow2', 'a', '1M');
  expect(await tsimg('convert', '-c', '-O', 'raw', 'a', 'b')).toEqual({
    code: 1,
    stdout: '',
    stderr: 'tsimg: Compression not supported for this file format\n',
  });
  expect(existsSync(folder.file('b'))).toBe(false);
});

it('a creation that fails takes its file away', async () => {
  const { code, stdout, stderr } = await tsimg('create', '-f', 'qcow2', 'x', '4E');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^Formatting 'x', fmt=qcow2 /);
  expect(stderr).toBe("tsimg: x: The image size is too large for file format 'qcow2' (try using a larger cluster size)\n");
  expect(existsSync(folder.file('x'))).toBe(false);
});

it('an encrypted image is shown but not read', async () => {
  await made('-f', 'qcow2', 'a', '1M');
  const bytes = readFileSync(folder.file('a'));
  bytes.writeUInt32BE(1, 32);
  writeFileSync(folder.file('a'), bytes);
  expect((await tsimg('info', 'a')).stdout).toContain('\nencrypted: yes\n');
  expect(await tsimg('convert', 'a', 'b')).toEqual({
    code: 1,
    stdout: '',
    stderr: "tsimg: Could not open 'a': Parameter 'encrypt.key-secret' is required for cipher\n",
  });
  expect(existsSync(folder.file('b'))).toBe(false);
});

it('a full output is not noticed', async () => {
  await made('a', '1M');
  const { code, stderr } = await run('sh', ['-c', `exec "$0" "$1" info a > /dev/full`, process.execPath, builtProgram('tsimg')], { cwd: folder.path });
  expect([code, stderr]).toEqual([0, '']);
});

it('answers SIGUSR1 with the progress of a copy', async () => {
  writeFileSync(folder.file('a'), Buffer.alloc(6 * 1024 * 1024, 1));
  const watcher = watch(folder.path);
  const child = spawn(process.execPath, [builtProgram('tsimg'), ...'convert -r 4M -f raw -O raw a b'.split(' ')], {
    cwd: folder.path,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  // the target appears when the copy is about to begin
  watcher.on('change', (_, name) => {
    if (name !== 'b') return;
    watcher.close();
    child.kill('SIGUSR1');
  });
  expect(await ended).toBe(0);
  expect(stderr).toMatch(/^ {4}\(\d+\.\d\d\/100%\)\n$/);
  expect(readFileSync(folder.file('b')).equals(readFileSync(folder.file('a')))).toBe(true);
});

it.each([
  ['json:x', "Could not parse the JSON options: 1:1: JSON parse error, invalid keyword 'x'"],
  ['foo:x', "Unknown protocol 'foo'"],
  ['disk.qcow2', 'Failed to get shared "resize" lock\nIs another process using the image [disk.qcow2]?'],
  ['./disk.qcow2', 'Failed to get shared "resize" lock\nIs another process using the image [./disk.qcow2]?'],
])('refuses %s as data file, and nothing stays behind', async (dataFile, words) => {
  const { code, stderr } = await tsimg('create', '-q', '-f', 'qcow2', '-o', `data_file=${dataFile}`, 'disk.qcow2', '1M');
  expect([code, stderr]).toEqual([1, `tsimg: disk.qcow2: ${words}\n`]);
  expect(readdirSync(folder.path)).toEqual([]);
});
