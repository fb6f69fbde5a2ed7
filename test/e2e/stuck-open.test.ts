/*
 * A medium that never answers the thread that opens it keeps nobody from ending the program. A FIFO that nobody writes to
 * stands for it, opened in Node's thread pool in place of the image.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { builtProgram } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const preload = `
const fs = require('node:fs');
const { open } = fs;
fs.open = (path, flags, mode, done) => {
  if (!String(path).endsWith('dead.raw')) return open(path, flags, mode, done);
  open('never', 'r', done);
  process.stderr.write('stuck\\n');
};
require('node:module').syncBuiltinESMExports();
`;

let folder: TempFolder;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = tempFolder('stuck');
  writeFileSync(folder.file('preload.cjs'), preload);
  writeFileSync(folder.file('dead.raw'), new Uint8Array(65536));
  execFileSync('mkfifo', [folder.file('never')]);
});
afterEach(() => {
  child?.kill('SIGKILL');
  folder[Symbol.dispose]();
});

/** Starts tsqmp; `isStuck` settles when it opens the dead image. */
function start(...words: string[]): { input: NodeJS.WritableStream; isStuck: Promise<void>; ended: Promise<{ code: number | null; signal: string | null }> } {
  const made = spawn(process.execPath, ['--require', folder.file('preload.cjs'), builtProgram('tsqmp'), ...words], {
    cwd: folder.path,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  child = made;
  const isStuck = new Promise<void>((resolve) => {
    made.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes('stuck')) resolve();
    });
  });
  const ended = once(made, 'exit').then(([code, signal]) => ({ code: code as number | null, signal: signal as string | null }));
  return { input: made.stdin, isStuck, ended };
}

const node = 'driver=file,node-name=x,filename=dead.raw';

describe('while an image does not open', () => {
  it('a daemon ends by a signal', async () => {
    const { input, isStuck, ended } = start('--daemon', '--chardev', 'stdio,id=q', '--monitor', 'chardev=q');
    input.write('{"execute":"qmp_capabilities"}\n{"execute":"blockdev-add","arguments":{"driver":"file","node-name":"x","filename":"dead.raw"}}\n');
    await isStuck;
    child?.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
  });

  it('a daemon ends by quit of another client', async () => {
    const { input, isStuck, ended } = start('--daemon', '--chardev', 'stdio,id=q', '--monitor', 'chardev=q', '--qmp', 'unix:other.sock');
    input.write('{"execute":"qmp_capabilities"}\n{"execute":"blockdev-add","arguments":{"driver":"file","node-name":"x","filename":"dead.raw"}}\n');
    await isStuck;
    const other = connect(folder.file('other.sock'));
    other.on('error', () => {});
    other.write('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n');
    expect(await ended).toEqual({ code: 0, signal: null });
    other.destroy();
  });

  it.each([
    ['a daemon on its way up', 0, ['--daemon', '--blockdev', node]],
    ['a shell on its way up', 1, ['--disk', 'hd=dead.raw', '-c', 'query-block']],
    ['a shell in a line', 1, ['-c', `blockdev-add ${node.replaceAll(',', ' ')}`]],
  ] as const)('%s ends by a signal', async (_what, code, words) => {
    const { isStuck, ended } = start(...words);
    await isStuck;
    child?.kill('SIGTERM');
    expect(await ended).toEqual({ code, signal: null });
  });
});
