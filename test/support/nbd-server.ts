/* An NBD server in this process over media in memory, for tests. */
import { BlockBackend } from '../../src/core/block/backend.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { NbdServer, type NbdServerOptions } from '../../src/nbd/server.ts';
import { memoryEngine } from './memory-engine.ts';
import { tempFolder } from './tmp.ts';

export interface TestServer extends AsyncDisposable {
  readonly path: string;
  readonly server: NbdServer;
  readonly medium: MemoryStorage;
}

export const exportSize: number = 4 * 1024 * 1024;

/** Exports `disk` (writable) and `ro`. */
export async function serveMemory(options: NbdServerOptions = {}): Promise<TestServer> {
  const folder = tempFolder('nbd');
  const { engine, media } = memoryEngine();
  const medium = new MemoryStorage('disk', { size: exportSize });
  media.set('disk', medium);
  const node = await engine.addNode({ driver: 'raw', 'node-name': 'disk', file: { driver: 'file', filename: 'disk', discard: 'unmap' }, discard: 'unmap' });
  const server = new NbdServer({ budget: engine.budget, ...options });
  const backends: BlockBackend[] = [];
  for (const [name, writable] of [
    ['disk', true],
    ['ro', false],
  ] as const) {
    const backend = new BlockBackend(engine.graph, { perm: perm.consistentRead | (writable ? perm.write : perm.none), shared: perm.all & ~perm.resize });
    backend.insert(node);
    backends.push(backend);
    server.addExport(new NbdExport({ name, backend, writable, description: `the ${name} export` }));
  }
  const path = folder.file('nbd.sock');
  await server.start({ type: 'unix', path });
  return {
    path,
    server,
    medium,
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      for (const backend of backends) await backend.remove();
      await engine.close();
      folder[Symbol.dispose]();
    },
  };
}
