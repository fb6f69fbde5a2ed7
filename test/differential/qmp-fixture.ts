/* The images that the scripts of the QMP comparison use, made by the peer's own tools. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encryptedFixture } from './qmp-cases-encrypted.ts';

/** Fills `folder`. `program(name)` finds a peer. */
export function makeQmpFixture(folder: string, program: (name: string) => string): void {
  const img = (...args: string[]): void => void execFileSync(program('qemu-img'), args, { cwd: folder });
  const io = (file: string, format: string, ...commands: string[]): void =>
    void execFileSync(program('qemu-io'), ['-f', format, ...commands.flatMap((command) => ['-c', command]), file], { cwd: folder });
  img('create', '-q', '-f', 'qcow2', 'disk.qcow2', '4M');
  io('disk.qcow2', 'qcow2', 'write -q -P 1 0 2M', 'write -q -P 2 3M 512k');
  img('create', '-q', '-f', 'qcow2', 'target.qcow2', '4M');
  img('create', '-q', '-f', 'qcow2', 'second.qcow2', '4M');
  img('create', '-q', '-f', 'qcow2', 'small.qcow2', '1M');
  img('create', '-q', '-f', 'qcow2', 'big.qcow2', '8M');
  img('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'old.qcow2', '4M');
  img('create', '-q', '-f', 'qcow2', 'marked.qcow2', '4M');
  img('bitmap', '--add', 'marked.qcow2', 'b0');
  img('bitmap', '--add', '-g', '512', 'marked.qcow2', 'fine');
  io('marked.qcow2', 'qcow2', 'write -q -P 6 64k 100k', 'write -q -P 7 2M 1k');
  img('bitmap', '--disable', 'marked.qcow2', 'fine');
  img('create', '-q', '-f', 'raw', 'disk.raw', '4M');
  io('disk.raw', 'raw', 'write -q -P 3 0 1M');
  img('create', '-q', '-f', 'raw', 'other.raw', '4M');
  img('create', '-q', '-f', 'raw', 'odd.raw', '1000');
  img('create', '-q', '-f', 'qcow2', 'base.qcow2', '4M');
  io('base.qcow2', 'qcow2', 'write -q -P 4 0 1M');
  img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'overlay.qcow2', '4M');
  io('overlay.qcow2', 'qcow2', 'write -q -P 5 1M 64k');
  img('create', '-q', '-f', 'qcow2', '-b', 'nowhere.qcow2', '-F', 'qcow2', '-u', 'orphan.qcow2', '4M');
  for (const words of encryptedFixture) img(...words);
  writeFileSync(join(folder, 'text.txt'), 'this is no image\n'.repeat(100));
}
