/* The driver luks over media in memory, and encrypted qcow2 beside it: requests of any shape, headers apart, what is told of both. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockDeviceInfo } from '../../src/core/block/device-info.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { delayed } from '../../src/core/storage/faulty.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { setU32 } from '../../src/core/util/bytes.ts';
import { createImage } from '../../src/engine/create.ts';
import { type MemoryEngine, memoryEngine } from '../support/memory-engine.ts';
import { seeded } from '../support/random.ts';
import { addSecret, makeVault, vaultSecret } from '../support/vault.ts';

const size = 256 * 1024;
const small = { 'cipher-alg': 'aes-128', 'cipher-mode': 'cbc' };
let where: MemoryEngine;

beforeEach(() => {
  where = memoryEngine();
});
afterEach(() => where.engine.close());

function bytesOf(name: string): Uint8Array {
  const medium = where.media.get(name);
  const bytes = new Uint8Array(medium?.size() ?? 0);
  medium?.read(0, bytes);
  return bytes;
}

/** Makes an image of each kind, and the options that open it. */
const kinds: Readonly<Record<string, () => Promise<OptionTree>>> = {
  luks: () => makeVault(where.engine, 'disk', { size, ...small }),
  'luks in qcow2': async () => {
    addSecret(where.engine, vaultSecret, 'open sesame');
    const values = { 'encrypt.format': 'luks', 'encrypt.key-secret': vaultSecret, 'encrypt.iter-time': 0, cluster_size: 4096, size };
    await createImage(where.engine, 'qcow2', 'disk', values);
    return { driver: 'qcow2', encrypt: { 'key-secret': vaultSecret }, file: { driver: 'file', filename: 'disk' } };
  },
  'aes in qcow2': async () => {
    addSecret(where.engine, vaultSecret, 'open sesame');
    await createImage(where.engine, 'qcow2', 'disk', { 'encrypt.format': 'aes', 'encrypt.key-secret': vaultSecret, cluster_size: 4096, size });
    return { driver: 'qcow2', encrypt: { 'key-secret': vaultSecret }, file: { driver: 'file', filename: 'disk' } };
  },
};

describe.each(Object.keys(kinds))('%s', (kind) => {
  it.each([false, true])('keeps what is written in any shape, and none of it in clear (pending: %s)', async (isPending) => {
    where = memoryEngine(isPending ? (storage) => delayed(storage) : {});
    const options = (await kinds[kind]?.()) ?? {};
    const filename = 'disk';
    const disk = await where.engine.openBackend({ filename, format: String(options['driver']), readOnly: false, options });
    const random = seeded(7);
    const model = Buffer.alloc(size);
    await disk.write(0, model);
    for (let step = 0; step < 60; step++) {
      const at = random(size - 1);
      const data = Buffer.alloc(1 + random(Math.min(20_000, size - at)), `secret ${step} `);
      data.copy(model, at);
      await disk.write(at, Uint8Array.from(data));
      const from = random(size - 1);
      const into = new Uint8Array(1 + random(size - from));
      await disk.read(from, into);
      expect(Buffer.compare(into, model.subarray(from, from + into.length))).toBe(0);
    }
    await disk.zero(4096, 8192);
    model.fill(0, 4096, 4096 + 8192);
    await where.engine.closeBackend(disk);
    expect(Buffer.from(bytesOf('disk')).includes('secret')).toBe(false);
    const again = await where.engine.openBackend({ filename, format: String(options['driver']), options });
    const all = new Uint8Array(size);
    await again.read(0, all);
    expect(Buffer.compare(all, model)).toBe(0);
  });

  it('is told as encrypted, and opens by the right passphrase alone', async () => {
    const options = (await kinds[kind]?.()) ?? {};
    addSecret(where.engine, 'wrong', 'open barley');
    const withSecret = (id: string): OptionTree => (kind === 'luks' ? { ...options, 'key-secret': id } : { ...options, encrypt: { 'key-secret': id } });
    const node = await where.engine.addNode({ ...options, 'node-name': 'n' });
    expect(await blockDeviceInfo(node, true)).toMatchObject({ encrypted: true, image: { encrypted: true } });
    await expect(where.engine.addNode({ ...withSecret('absent'), 'node-name': 'm' })).rejects.toThrow("No secret with id 'absent'");
    if (kind !== 'aes in qcow2') {
      await expect(where.engine.addNode({ ...withSecret('wrong'), 'node-name': 'm' })).rejects.toThrow('Invalid password, cannot unlock any keyslot');
    }
  });
});

describe('luks', () => {
  it('may have its header apart', async () => {
    const { 'key-secret': secret } = await makeVault(where.engine, 'header', { size, 'detached-header': true, ...small });
    where.media.set('payload', new MemoryStorage('payload', { size }));
    const options: OptionTree = {
      driver: 'luks',
      'key-secret': secret ?? null,
      file: { driver: 'file', filename: 'payload' },
      header: { driver: 'file', filename: 'header' },
    };
    const node = await where.engine.addNode({ ...options, 'node-name': 'n' });
    expect([node.size(), node.state.info?.().specific?.data['detached-header'], node.state.info?.().specific?.data['payload-offset']]).toEqual([size, true, 0]);
    await expect(where.engine.addNode({ driver: 'luks', 'key-secret': vaultSecret, file: { driver: 'file', filename: 'header' } })).rejects.toThrow(
      'LUKS payload is overlapping with the header',
    );
  });

  it('is smaller than its file by what lies before it, and refuses a payload that lies beyond', async () => {
    const options = await makeVault(where.engine, 'disk', { size, ...small });
    const node = await where.engine.addNode({ ...options, 'node-name': 'n' });
    expect([node.size(), where.media.get('disk')?.size()]).toEqual([size, size + 1032 * 512]);
    const broken = bytesOf('disk');
    setU32(broken, 104, 0xffffffff);
    where.media.set('broken', new MemoryStorage('broken', { size: broken.length }));
    where.media.get('broken')?.write(0, broken);
    await expect(where.engine.addNode({ ...options, 'node-name': 'm', file: { driver: 'file', filename: 'broken' } })).rejects.toThrow(
      'Could not refresh total sector count: Input/output error',
    );
  });

  it('shares its file with whoever shares the disk, but not while its key slots change', async () => {
    const { file: _file, ...options } = await makeVault(where.engine, 'disk', { size, ...small });
    addSecret(where.engine, 'new', 'open barley');
    await where.engine.addNode({ driver: 'file', filename: 'disk', 'node-name': 'f' });
    const node = await where.engine.addNode({ ...options, file: 'f', 'node-name': 'n' });
    const other = await where.engine.addNode({ ...options, file: 'f', 'node-name': 'm', 'read-only': true });
    const amend = (): Promise<void> | undefined =>
      node.state.amend?.({ state: 'active', 'new-secret': 'new', 'iter-time': 0 }, { force: false, onProgress: () => {} });
    const before = bytesOf('disk');
    await expect(amend()).rejects.toThrow("Permission conflict on node 'f'");
    expect(bytesOf('disk')).toEqual(before);
    other.monitorOwned = false;
    await where.engine.graph.releaseUnused(other);
    await amend();
    const again = await where.engine.addNode({ ...options, 'key-secret': 'new', file: 'f', 'node-name': 'm' });
    expect(again.size()).toBe(size);
  });

  it('grows and shrinks with its file', async () => {
    const options = await makeVault(where.engine, 'disk', { size, ...small });
    const node = await where.engine.addNode({ ...options, 'node-name': 'n' });
    for (const next of [size * 2, size / 2]) {
      await node.state.truncate?.(next, { exact: true, prealloc: 'off' });
      expect([node.state.size(), where.media.get('disk')?.size()]).toEqual([next, next + 1032 * 512]);
    }
  });
});

it('any damage of a header is told, and nothing else comes of it', async () => {
  const options = await makeVault(where.engine, 'disk', { size, ...small });
  const valid = bytesOf('disk').slice(0, 1032 * 512);
  const random = seeded(99);
  for (let round = 0; round < 300; round++) {
    const bytes = Uint8Array.from(valid);
    for (let edits = 1 + random(3); edits > 0; edits--) bytes[random(592)] = random(256);
    where.media.set('damaged', new MemoryStorage('damaged', { size: bytes.length + 4096 }));
    where.media.get('damaged')?.write(0, bytes);
    const opened = await where.engine.opener
      .openNode({ ...options, file: { driver: 'file', filename: 'damaged' }, 'read-only': true }, { noIo: true })
      .catch((error: Error) => error);
    if (opened instanceof Error) expect(opened.name).toBe('BlockError');
    else await where.engine.graph.releaseUnused(opened);
  }
});
