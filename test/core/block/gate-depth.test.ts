/* How deep names of images lead to names. On its own: it opens hundreds of images. */
import { expect, it } from 'vitest';
import { createImage } from '../../../src/engine/create.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

it('names of backing files end at a depth that no use of them needs', async () => {
  const { engine, media } = memoryEngine();
  const name = (index: number): string => `image${index}`;
  await createImage(engine, 'raw', name(0), { size: 65536 });
  media.get(name(0))?.write(0, new Uint8Array(65536).fill(66));
  for (let index = 1; index <= 501; index++) {
    await createImage(engine, 'qcow2', name(index), { size: 65536, backing_file: name(index - 1), backing_fmt: index === 1 ? 'raw' : 'qcow2' });
  }
  const open = (index: number): Promise<unknown> => engine.addNode({ driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: name(index) } });
  await open(500);
  const node = engine.graph.find('n') ?? expect.fail('no node');
  const into = new Uint8Array(1);
  await node.state.read(0, into, 0);
  expect([...into]).toEqual([66]);
  node.monitorOwned = false;
  await engine.graph.releaseUnused(node);
  await expect(open(501)).rejects.toThrow('Backing chain has more than 1000 nodes');
  expect([...engine.graph.nodes]).toEqual([]);
  await engine.close();
});
