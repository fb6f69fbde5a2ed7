/* What somebody may have meant stands on a line of its own behind QEMU's words, where hints are on. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { main } from '../../src/commands/tsimg.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
let image: string;

beforeAll(async () => {
  folder = tempFolder('meant');
  image = join(folder.path, 'a.qcow2');
  expect((await told(['create', '-q', '-f', 'qcow2', image, '1M'])).code).toBe(0);
});
afterAll(() => folder[Symbol.dispose]());

async function told(words: readonly string[]): Promise<{ code: number; lines: string[] }> {
  let text = '';
  const sink = { write: (part: string) => (text += part) };
  const code = await main(words, 'tsimg', { stdout: sink, stderr: sink });
  return { code, lines: text.split('\n').slice(0, -1) };
}

it.each<readonly [line: string, hint: string]>([
  ['convrt -O raw @ x', "did you mean 'convert'?"],
  ['info --fromat qcow2 @', "did you mean '--format'?"],
  ['convert --target-formt=raw @ x', "did you mean '--target-format'?"],
  ['info -F qcow2 @', "did you mean '-f'?"],
  ['create -f qcow22 x 1M', "did you mean 'qcow2'?"],
  ['convert -O fromat @ x', 'it is one of raw, qcow2, luks'],
  ['info -f rwa @', "did you mean 'raw'?"],
  ['create -f qcow2 -o cluster_sise=64k x 1M', "did you mean 'cluster_size'?"],
  ['convert -O qcow2 -o subformat=x @ x', "'-o help' lists the options of qcow2"],
  ['create -f qcow2 -o preallocation=metdata @.2 1M', "did you mean 'metadata'?"],
  ['create -f qcow2 -o compression_type=gzip @.2 1M', 'it is one of zlib, zstd'],
  ['create -f qcow2 -F rwa -b @ @.2 1M', "did you mean 'raw'?"],
  ['convert -t writebak @ x', "did you mean 'writeback'?"],
  ['convert -T sync @ x', 'it is one of none, off, directsync, writeback, writethrough, unsafe'],
  ['info --output=jsn @', "did you mean 'json'?"],
  ['check -r al @', "did you mean 'all'?"],
  ['resize --preallocation=ful @ 2M', "did you mean 'full'?"],
  ['info --object scret,id=a @', "did you mean 'secret'?"],
  ['info --image-opts driver=qcow2,file.filename=@,lazy-refcount=on', "did you mean 'lazy-refcounts'?"],
  ['info --image-opts driver=qcow2,file.filename=@,cache.drect=on', "did you mean 'cache.direct'?"],
  ['info --image-opts driver=qcow2,file.filename=@,overlap-check.templat=all', "did you mean 'overlap-check.template'?"],
  ['info --image-opts driver=qcow2,file.filename=@,discard=unmp', "did you mean 'unmap'?"],
  ['info --image-opts driver=qcow2,file.filename=@,file.lockin=off', "did you mean 'locking'?"],
  ['info --image-opts driver=qcow2,file.filename=@,file.locking=aut', "did you mean 'auto'?"],
])('%s', async (line, hint) => {
  const words = line.split(' ').map((word) => word.replaceAll('@', image));
  const plain = await told(words);
  const hinted = await told(['--hints', ...words]);
  expect(plain.code).toBe(1);
  // the words of QEMU are the same with the hint and without it
  expect(hinted).toEqual({ code: 1, lines: [...plain.lines, `hint: ${hint}`] });
});
