/* Local files: how they grow, what a failed growth leaves, what is refused at opening, and how many opens run at once. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { localStorage } from '../../../src/core/storage/local-open.ts';
import type { OpenStorageOptions, Storage } from '../../../src/core/storage/storage.ts';
import * as syscalls from '../../../src/core/storage/syscalls.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { type TempFolder, tempFolder } from '../../support/tmp.ts';

vi.mock('node:fs', async (original) => {
  const real = await original<typeof fs>();
  return { ...real, ftruncateSync: vi.fn(real.ftruncateSync), open: vi.fn(real.open), writeSync: vi.fn(real.writeSync) };
});

const how: OpenStorageOptions = { readOnly: false, create: 'keep', direct: false, noFlush: false, locking: 'off' };
const hasCalls = syscalls.loadSyscalls() !== undefined;
let folder: TempFolder;

beforeEach(() => {
  folder = tempFolder('local');
  vi.mocked(fs.ftruncateSync).mockClear();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.mocked(fs.open).mockReset();
  folder[Symbol.dispose]();
});

const failureOf = async (act: () => unknown): Promise<unknown> => {
  try {
    await act();
    return undefined;
  } catch (error) {
    return error;
  }
};

function openSync(name: string, options: Partial<OpenStorageOptions> = {}): Promise<Storage> {
  return localStorage({ syncLimit: Number.POSITIVE_INFINITY })(folder.file(name), { ...how, ...options });
}

describe('growth', () => {
  it.each([true, false])('by zeros never goes by a length that another thread may have passed meanwhile (may unmap: %s)', async (mayUnmap) => {
    await using file = await openSync('f');
    await file.zero(65_536, 65_536, mayUnmap);
    await file.zero(100_000, 65_536, mayUnmap);
    expect(await file.size()).toBe(165_536);
    expect(fs.ftruncateSync).not.toHaveBeenCalled();
  });

  it.skipIf(!hasCalls)('that finds no space gives back what it took, in the words of what failed', async () => {
    await using file = await openSync('f');
    await file.write(0, new Uint8Array(4096).fill(1));
    const calls = syscalls.loadSyscalls();
    if (calls === undefined) return;
    vi.spyOn(calls, 'allocate').mockReturnValue(28);
    // as far as the file system got
    fs.truncateSync(folder.file('f'), 50_000);
    fs.truncateSync(folder.file('f'), 4096);
    expect(await failureOf(() => file.truncate(100_000, 'falloc'))).toMatchObject({
      code: 'ENOSPC',
      message: 'Could not preallocate new data: No space left on device',
    });
    expect(await file.size()).toBe(4096);
    vi.mocked(fs.writeSync).mockImplementationOnce(() => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC', syscall: 'write' });
    });
    expect(await failureOf(() => file.truncate(100_000, 'full'))).toMatchObject({
      code: 'ENOSPC',
      message: 'Could not write zeros for preallocation: No space left on device',
    });
    expect(await file.size()).toBe(4096);
  });

  it.skipIf(!hasCalls)('where the file system cannot allocate, all is written', async () => {
    await using file = await openSync('f');
    const calls = syscalls.loadSyscalls();
    if (calls === undefined) return;
    vi.spyOn(calls, 'allocate').mockReturnValue(95);
    await file.truncate(100_000, 'falloc');
    expect(await file.size()).toBe(100_000);
    expect(await file.allocatedSize()).toBeGreaterThanOrEqual(100_000);
  });

  it('beyond what the file system carries is told as the peer tells it', async () => {
    await using file = await openSync('f');
    await file.write(0, new Uint8Array(10).fill(1));
    const failure = await failureOf(() => file.truncate(2 ** 53 - 1));
    // some file systems carry it: then it is so long
    if (failure === undefined) expect(await file.size()).toBe(2 ** 53 - 1);
    else {
      expect(failure).toMatchObject({ code: 'EFBIG', message: 'Could not resize file: File too large' });
      expect(await file.size()).toBe(10);
    }
  });

  it('shrinks without preallocation only', async () => {
    await using file = await openSync('f');
    await file.truncate(8192);
    expect(await failureOf(() => file.truncate(4096, 'full'))).toMatchObject({ code: 'ENOTSUP', message: 'Cannot use preallocation for shrinking files' });
    expect(await file.size()).toBe(8192);
    await file.truncate(4096);
    expect(await file.size()).toBe(4096);
  });

  it.each([
    [0, 511, 0],
    [0, 512, 512],
    [0, 4096, 4096],
    [0, 100_000, 4096],
    [1000, 100_000, 0],
  ])('from %d to %d writes a first block of %d bytes', async (before, size, written) => {
    fs.writeFileSync(folder.file('f'), '');
    await using file = await openSync('f');
    if (before > 0) fs.truncateSync(folder.file('f'), before);
    vi.mocked(fs.writeSync).mockClear();
    await file.truncate(size);
    expect(vi.mocked(fs.writeSync).mock.calls.map(([, data]) => Buffer.byteLength(data))).toEqual(written === 0 ? [] : [written]);
    expect(await file.size()).toBe(size);
  });
});

describe('opening', () => {
  const storage = localStorage();

  it('refuses a pipe without waiting for its other end', async () => {
    execFileSync('mkfifo', [folder.file('pipe')]);
    for (const readOnly of [true, false]) {
      const failure = await failureOf(() => storage(folder.file('pipe'), { ...how, create: 'never', readOnly }));
      expect(failure).toBeInstanceOf(BlockError);
      expect(failure).toMatchObject({ code: 'ESPIPE' });
    }
  });

  it('refuses a socket as the system does', async () => {
    const server = createServer().listen(folder.file('s'));
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await failureOf(() => storage(folder.file('s'), { ...how, create: 'never' }))).toMatchObject({
      code: 'ENXIO',
      message: 'No such device or address',
    });
    server.close();
  });

  it('takes a name that holds a NUL for no file', async () => {
    fs.writeFileSync(folder.file('f'), 'x');
    expect(await failureOf(() => storage(`${folder.file('f')}\0g`, { ...how, create: 'never' }))).toMatchObject({ code: 'ENOENT' });
  });

  it.each(['\udce4', 'a\nb', 'ä', '\udcff\udcfe'])('finds the file of the name %j by its bytes', async (name) => {
    {
      await using file = await storage(folder.file(name), how);
      await file.write(0, new Uint8Array(3));
    }
    expect(fs.readdirSync(Buffer.from(folder.file('')), 'buffer')).toHaveLength(1);
    await using again = await storage(folder.file(name), { ...how, create: 'never' });
    expect(await again.size()).toBe(3);
    storage.remove?.(folder.file(name));
    expect(fs.readdirSync(folder.file(''))).toEqual([]);
  });

  it('runs two at a time, in order, and goes on after one that fails', async () => {
    const waiting: ((error: Error | null, fd: number) => void)[] = [];
    vi.mocked(fs.open).mockImplementation(((_path: string, _flags: number, _mode: number, done: (error: Error | null, fd: number) => void) => {
      waiting.push(done);
    }) as typeof fs.open);
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) fs.writeFileSync(folder.file(name), name);
    const opens = names.map((name) => storage(folder.file(name), { ...how, create: 'never' }));
    const settled = Promise.allSettled(opens);
    await Promise.resolve();
    expect(waiting).toHaveLength(2);
    waiting[0]?.(Object.assign(new Error('no'), { code: 'EIO' }), 0);
    await vi.waitFor(() => expect(waiting).toHaveLength(3));
    for (const index of [1, 2]) waiting[index]?.(null, fs.openSync(folder.file(names[index] ?? ''), 'r+'));
    await vi.waitFor(() => expect(waiting).toHaveLength(4));
    waiting[3]?.(null, fs.openSync(folder.file('d'), 'r+'));
    expect((await settled).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
    for (const open of opens.slice(1)) await (await open)[Symbol.asyncDispose]();
  });

  it('is no empty disk where the system tells no size', async () => {
    for (const path of ['/proc/version', '/proc/self/maps']) {
      await using file = await storage(path, { ...how, create: 'never', readOnly: true });
      expect(await failureOf(() => file.size())).toMatchObject({ code: 'EINVAL' });
      using _ = syscalls.withoutSyscalls();
      await using without = await storage(path, { ...how, create: 'never', readOnly: true });
      expect(await failureOf(() => without.size())).toMatchObject({ code: 'EINVAL' });
    }
  });
});
