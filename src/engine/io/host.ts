/* What the qemu-io language asks of an engine, whoever runs it. */
import { parseCache } from '../../core/block/cache-mode.ts';
import type { OpenStorage } from '../../core/storage/storage.ts';
import { parseOptionWords } from '../../core/util/key-values.ts';
import type { Engine } from '../engine.ts';
import { reopenBackend } from '../ops/reopen.ts';
import type { IoHost } from './requests.ts';

export function engineHost(engine: Engine): Pick<IoHost, 'clock' | 'readFile' | 'reopen'> {
  return {
    clock: engine.clock,
    readFile: (path) => readPattern(engine.openStorage, path),
    reopen: (backend, { readOnly, cache, options }) =>
      reopenBackend(engine, backend, {
        readOnly,
        cache: cache === undefined ? undefined : parseCache(cache, 'Invalid cache option'),
        options: Object.fromEntries(parseOptionWords(options ?? '').map(({ name, value }) => [name, value])),
      }),
  };
}

async function readPattern(openStorage: OpenStorage, path: string): Promise<Uint8Array> {
  await using file = await openStorage(path, { readOnly: true, create: 'never', direct: false, noFlush: false, locking: 'off' });
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}
