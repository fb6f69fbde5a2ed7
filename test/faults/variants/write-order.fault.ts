/* Further scenes in which the medium has to move before the model, and hiding before growing. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { MemoryStorage } from '../../../src/index.ts';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';
import type { Library } from '../stage.ts';

const first = (error: Error): string => error.message;

/** The header of a larger refcount table cannot be written once. */
const refcountTable: Fault = {
  name: 'grow-refcount-table-after-one-eio',
  kind: 'write order',
  expected: '1 write failed; all of it there after reopening; check exit 0',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isArmed = true;
    const hook = (op: string, offset: number, length: number): string | undefined => {
      if (!isArmed || op !== 'write' || offset !== 48 || length !== 12) return undefined;
      isArmed = false;
      return 'EIO';
    };
    const file = stage.path('a.qcow2');
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', file, '64M']);
    const medium = fileMedium(library, file);
    const { engine } = hookedEngine(library, { fail: hook }, new Map([['a', medium]]));
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false });
    const end = 10 << 20;
    let failed = 0;
    for (let at = 0; at < end; at += 32768) {
      const data = new Uint8Array(32768).fill(1 + ((at / 32768) % 255));
      try {
        await backend.write(at, data);
      } catch {
        failed++;
        await backend.write(at, data);
      }
    }
    await backend.flush();
    await engine.close();
    const after = hookedEngine(library, {}, new Map([['a', medium]]));
    const again = await after.engine.openBackend({ filename: 'a', format: 'qcow2' });
    const bytes = new Uint8Array(end);
    await again.read(0, bytes);
    await after.engine.close();
    const wrong = bytes.findIndex((byte, at) => byte !== 1 + (Math.floor(at / 32768) % 255));
    saveMedium(medium, file);
    const { code } = await stage.run('tsimg', ['check', '-q', '-r', 'leaks', file]);
    return `${failed} write failed; ${wrong < 0 ? 'all of it there' : `byte ${wrong} is lost`} after reopening; check exit ${code}`;
  },
};

function fileMedium(library: Library, path: string): MemoryStorage {
  const medium = new library.MemoryStorage('a');
  medium.write(0, readFileSync(path));
  return medium;
}

function saveMedium(medium: MemoryStorage, path: string): void {
  const bytes = new Uint8Array(medium.size());
  medium.read(0, bytes);
  writeFileSync(path, bytes);
}

/** The new size of a disk cannot be written: neither the library nor the file takes it for changed. */
const size: Fault = {
  name: 'resize-whose-size-field-fails',
  kind: 'write order',
  expected: 'Input/output error; size 1048576 before and 1048576 after reopening',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const { engine, media } = hookedEngine(library, { fail: (op, offset, length) => (op === 'write' && offset === 24 && length === 8 ? 'EIO' : undefined) });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20 });
    const backend = await engine.openBackend({ filename: 'a', format: 'qcow2', readOnly: false, perms: library.resizerPerms });
    const told = await backend.truncate(2 << 20, { exact: true, prealloc: 'off' }).then(() => 'ok', first);
    const before = backend.size();
    await engine.close().catch(() => {});
    const after = hookedEngine(library, {}, media);
    const again = await after.engine.openBackend({ filename: 'a', format: 'qcow2' });
    const found = again.size();
    await after.engine.close();
    return `${told}; size ${before} before and ${found} after reopening`;
  },
};

const faults: Fault[] = [refcountTable, size];
export default faults;
