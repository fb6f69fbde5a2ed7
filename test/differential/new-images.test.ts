/*
 * What of a new or grown file is allocated, beside the peer's: each program makes its own, the peer maps both. A file that
 * was empty has its first block written, so that direct access finds an alignment.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

describeWithPeers(['qemu-img'], 'what of a new file is allocated', () => {
  let folder: TempFolder;
  beforeAll(() => {
    folder = tempFolder('new-images');
  });
  afterAll(() => folder[Symbol.dispose]());

  const output = async (program: string, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(program, args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  /** The lines by one program, with NAME for a file of its own; the peer's map of that file. */
  const mapAfter = async (who: 'mine' | 'theirs', name: string, lines: readonly string[]): Promise<string> => {
    const file = folder.file(`${name}-${who}`);
    const first = who === 'mine' ? [process.execPath, builtProgram('tsimg')] : [peer('qemu-img')];
    for (const line of lines) {
      const [program = '', ...args] = [...first, ...line.split(' ').map((word) => word.replace('NAME', file))];
      await output(program, ...args);
    }
    return output(peer('qemu-img'), 'map', '-f', 'raw', '--output=json', file);
  };

  it.each([
    { name: 'sector', lines: ['create -q -f raw NAME 512'], isWritten: true },
    { name: 'small', lines: ['create -q -f raw NAME 3k'], isWritten: true },
    { name: 'block', lines: ['create -q -f raw NAME 1M'], isWritten: true },
    { name: 'nothing', lines: ['create -q -f raw NAME 0'], isWritten: false },
    { name: 'grown', lines: ['create -q -f raw NAME 0', 'resize -q -f raw NAME 1M'], isWritten: true },
    { name: 'grown-twice', lines: ['create -q -f raw NAME 1M', 'resize -q -f raw NAME 2M'], isWritten: true },
    { name: 'falloc', lines: ['create -q -f raw -o preallocation=falloc NAME 1M'], isWritten: true },
    { name: 'data-file', lines: ['create -q -f qcow2 -o data_file=NAME NAME.qcow2 1M'], isWritten: true },
  ])('$name', async ({ name, lines, isWritten }) => {
    const mine = await mapAfter('mine', name, lines);
    expect(mine).toBe(await mapAfter('theirs', name, lines));
    expect(mine.includes('"data": true')).toBe(isWritten);
  });
});
