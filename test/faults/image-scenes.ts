/* What scenes about hostile images share: an image to spoil, a medium for it, and everything that a guest may do. */
import { readFileSync } from 'node:fs';
import type { BlockBackend, MemoryStorage } from '../../src/index.ts';
import { hookedEngine } from './media.ts';
import type { Library, Stage } from './stage.ts';

export const cluster: number = 65536;
export const copied: bigint = 1n << 63n;

/** An image of 1 MiB with 192 KiB of data, as bytes; and where its parts are. */
export async function makeImage(
  stage: Stage,
  options: readonly string[] = [],
): Promise<{ image: Buffer; l1: number; l2: number; data: number; refcounts: number }> {
  const library = await stage.loadLibrary();
  await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', ...options, 'i', '1M']);
  const engine = new library.Engine();
  const backend = await engine.openBackend({ filename: stage.path('i'), format: 'qcow2', readOnly: false });
  await backend.write(0, new Uint8Array(3 * cluster).fill(7));
  await engine.close();
  const image = readFileSync(stage.path('i'));
  const l1 = Number(image.readBigUInt64BE(40));
  const l2 = Number(image.readBigUInt64BE(l1) & ~copied);
  return { image, l1, l2, data: Number(image.readBigUInt64BE(l2) & ~copied), refcounts: Number(image.readBigUInt64BE(48)) };
}

export function medium(library: Library, image: Uint8Array): MemoryStorage {
  const storage = new library.MemoryStorage('a');
  storage.write(0, image);
  return storage;
}

/** What a guest may do; the first error of each request is told, and whatever is no error of the library is thrown on. */
export async function use(library: Library, storage: MemoryStorage, acts: (backend: BlockBackend) => readonly (() => unknown)[]): Promise<string[]> {
  const { engine } = hookedEngine(library, {}, new Map([['a', storage]]));
  const said: string[] = [];
  const attempt = async (act: () => unknown): Promise<void> => {
    try {
      await act();
      said.push('ok');
    } catch (error) {
      if (!(error instanceof library.BlockError) || /internal/i.test(error.message)) throw error;
      said.push(error.message);
    }
  };
  let backend: BlockBackend | undefined;
  await attempt(async () => {
    backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, discard: true, perms: library.resizerPerms });
  });
  if (backend !== undefined) for (const act of acts(backend)) await attempt(act);
  await attempt(() => engine.close());
  return said;
}

export const everything = (backend: BlockBackend): (() => unknown)[] => [
  () => backend.read(0, new Uint8Array(1 << 20)),
  () => backend.write(512, new Uint8Array(512).fill(3)),
  () => backend.write(8 * cluster, new Uint8Array(cluster).fill(3)),
  () => backend.zero(cluster, cluster),
  () => backend.discard(0, 4 * cluster),
  () => backend.truncate(2 << 20, { exact: true, prealloc: 'off' }),
  () => backend.write((2 << 20) - cluster, new Uint8Array(cluster).fill(3)),
  () => backend.truncate(1 << 19, { exact: true, prealloc: 'off' }),
  () => backend.flush(),
];
