/* Limits and rule files of blkdebug that the comparison with the peer does not reach. */
import { afterEach, expect, it } from 'vitest';
import { BlockBackend } from '../../../src/core/block/backend.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { perm } from '../../../src/core/util/perm-bits.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { memoryEngine } from '../../support/memory-engine.ts';

let engine: Engine;
afterEach(() => engine.close());

const size = 64 * 1024 * 1024;

function make(): Map<string, MemoryStorage> {
  const made = memoryEngine();
  engine = made.engine;
  made.media.set('disk', new MemoryStorage('disk', { size }));
  return made.media;
}

const image = { driver: 'file', filename: 'disk', discard: 'unmap' };

it('a discard and zeros go down in as many pieces as their limits make of them', async () => {
  const media = make();
  media.get('disk')?.write(0, new Uint8Array(4096).fill(7));
  const node = await engine.addNode({ driver: 'blkdebug', 'node-name': 'd', 'max-discard': 512, 'max-write-zero': 512, discard: 'unmap', image });
  const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all });
  backend.insert(node);
  await backend.discard(0, size);
  await backend.zero(0, size, 0);
  const bytes = new Uint8Array(4096).fill(1);
  await backend.read(0, bytes);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  await backend.remove();
});

it('a rule file is read whole, or not at all', async () => {
  const media = make();
  const rules = new MemoryStorage('rules');
  const comment = `# ${'x'.repeat(1022)}\n`;
  rules.write(0, Buffer.from(comment.repeat(1100)));
  media.set('rules', rules);
  await expect(engine.addNode({ driver: 'blkdebug', config: 'rules', image })).rejects.toMatchObject({
    code: 'EFBIG',
    message: "Could not open 'rules': File too large",
  });
  await expect(engine.addNode({ driver: 'blkdebug', config: 'none', image })).rejects.toThrow("Could not open 'none': No such file or directory");
});
