/* Images taken for raw because they look like nothing else: what may be written to them, and what is not taken for raw. */
import { afterEach, describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../src/core/block/backend.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';

let engine: Engine;
afterEach(() => engine.close());

async function open(content: Uint8Array, how: { readonly format?: string; readonly readOnly?: boolean } = {}): Promise<BlockBackend> {
  const made = memoryEngine();
  engine = made.engine;
  const medium = new MemoryStorage('disk');
  medium.write(0, content);
  made.media.set('disk', medium);
  return engine.openBackend({ filename: 'disk', readOnly: false, ...how });
}

function beginning(head: string, offset = 0): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes.set(Buffer.from(head, 'latin1'), offset);
  return bytes;
}

const qcow2 = 'QFI\xfb\0\0\0\x03';
const formats: readonly [name: string, content: Uint8Array][] = [
  ['vmdk', beginning('KDMV')],
  ['vhdx', beginning('vhdxfile')],
  ['vpc', beginning('conectix')],
  ['vdi', beginning('\x7f\x10\xda\xbe', 64)],
  ['qed', beginning('QED\0')],
  ['parallels', beginning('WithoutFreeSpace')],
  ['qcow', beginning('QFI\xfb\0\0\0\x01')],
];

describe('an image that was taken for raw', () => {
  it.each([['qcow2', beginning(qcow2)], ['luks', beginning('LUKS\xba\xbe\0\x01')], ...formats] as const)(
    'does not become %s by what is written',
    async (_format, content) => {
      const disk = await open(new Uint8Array(4096));
      await expect(async () => disk.write(0, content)).rejects.toThrow('Operation not permitted');
      // in pieces neither
      await expect(async () => {
        for (let at = 0; at < 128; at += 4) await disk.write(at, content.subarray(at, at + 4));
      }).rejects.toThrow('Operation not permitted');
      // elsewhere it is data like any other
      await disk.write(512, content.subarray(0, 2048));
      await disk.write(0, new Uint8Array(512).fill(7));
      await disk.zero(0, 4096);
    },
  );

  it('may be anything where the user says raw', async () => {
    const disk = await open(new Uint8Array(4096), { format: 'raw' });
    await disk.write(0, beginning(qcow2));
  });
});

describe('an image of a format without a driver here', () => {
  it.each(formats)('is not taken for raw: %s', async (format, content) => {
    await expect(open(content)).rejects.toThrow(`Unknown driver '${format}'`);
  });

  it.each([0, 1, 4, 17, 66])('raw it is with %d bytes that are not enough for a magic', async (length) => {
    expect((await open(new Uint8Array(length).fill(1))).node?.driver.name).toBe('raw');
  });

  it('is raw where the user says so', async () => {
    const [, content] = formats[0] ?? ['', new Uint8Array()];
    expect((await open(content, { format: 'raw' })).size()).toBe(4096);
  });
});
