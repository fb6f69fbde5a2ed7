/*
 * Holes in the file under a qcow2: whether they show depends on how much of the image was never written. The same image is
 * mapped by both programs.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const cluster = 65536;

interface MapEntry {
  readonly offset?: number;
  readonly zero: boolean;
}

describeWithPeers(['qemu-img', 'qemu-io'], 'a map of an image with holes below', () => {
  let folder: TempFolder;
  beforeAll(() => {
    folder = tempFolder('holes');
  });
  afterAll(() => folder[Symbol.dispose]());

  const output = async (program: string, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(program, args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  const bothMaps = async (image: string): Promise<{ mine: string; theirs: string }> => ({
    mine: await output(process.execPath, builtProgram('tsimg'), 'map', '--output=json', image),
    theirs: await output(peer('qemu-img'), 'map', '--output=json', image),
  });

  it.each([
    { written: 10, punched: 1, isSeen: true },
    { written: 20, punched: 3, isSeen: true },
    { written: 40, punched: 1, isSeen: false },
    { written: 40, punched: 2, isSeen: false },
    { written: 40, punched: 4, isSeen: true },
    { written: 100, punched: 5, isSeen: false },
    { written: 100, punched: 12, isSeen: true },
  ])('$punched of $written clusters', async ({ written, punched, isSeen }) => {
    const image = folder.file(`${written}-${punched}.qcow2`);
    await output(peer('qemu-img'), 'create', '-q', '-f', 'qcow2', image, '16M');
    await output(peer('qemu-io'), '-f', 'qcow2', '-c', `write -P 1 0 ${written * cluster}`, image);
    const [first] = JSON.parse(await output(peer('qemu-img'), 'map', '--output=json', image)) as MapEntry[];
    await output(peer('qemu-io'), '-f', 'raw', '-c', `discard ${(first?.offset ?? 0) + 2 * cluster} ${punched * cluster}`, image);
    const { mine, theirs } = await bothMaps(image);
    expect(mine).toBe(theirs);
    expect((JSON.parse(mine) as MapEntry[]).some(({ offset, zero }) => offset !== undefined && zero)).toBe(isSeen);
  });

  it.each(['off', 'metadata', 'falloc', 'full'])('preallocation=%s', async (mode) => {
    const image = folder.file(`${mode}.qcow2`);
    await output(process.execPath, builtProgram('tsimg'), 'create', '-q', '-f', 'qcow2', '-o', `preallocation=${mode}`, image, '16M');
    const { mine, theirs } = await bothMaps(image);
    expect(mine).toBe(theirs);
  });
});
