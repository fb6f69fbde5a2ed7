/* Both codecs of clusters, and the ways that lead to zstd: what one makes every other reads; what is no stream is told. */
import { init } from '@bokuweb/zstd-wasm';
import { beforeAll, describe, expect, it } from 'vitest';
import { deflateCodec } from '../../src/qcow2/codec-deflate.ts';
import type { ClusterCodec } from '../../src/qcow2/codec-port.ts';
import { frameOf, zstdCodec, zstdPackage } from '../../src/qcow2/codec-zstd.ts';
import { seeded } from '../support/random.ts';

const clusterSize = 65536;

function cluster(kind: 'zeros' | 'text' | 'noise'): Uint8Array {
  const bytes = new Uint8Array(clusterSize);
  const random = seeded(7);
  if (kind === 'noise') for (let at = 0; at < bytes.length; at++) bytes[at] = random(256);
  if (kind === 'text') for (let at = 0; at < bytes.length; at++) bytes[at] = 97 + ((at * at) % 23) + (random(50) === 0 ? 1 : 0);
  return bytes;
}

let codecs: Record<string, { codec: ClusterCodec; readers: readonly ClusterCodec[] }>;
beforeAll(async () => {
  await init();
  const [first, wasm] = [await zstdCodec(), await zstdPackage()];
  codecs = {
    deflate: { codec: deflateCodec, readers: [deflateCodec] },
    'zstd of this system': { codec: first, readers: [first, wasm] },
    'zstd of the package': { codec: wasm, readers: [first, wasm] },
  };
});

describe.each(['deflate', 'zstd of this system', 'zstd of the package'])('%s', (name) => {
  it.each(['zeros', 'text'] as const)('gives %s back, at once and aside, whatever follows the stream', async (kind) => {
    const { codec, readers } = codecs[name] ?? expect.fail('no such codec');
    const bytes = cluster(kind);
    const stream = await codec.compress(bytes);
    expect(stream.length).toBeLessThan(clusterSize / 2);
    const sectors = new Uint8Array(Math.ceil(stream.length / 512) * 512).fill(0xa5);
    sectors.set(stream);
    for (const reader of readers) {
      for (const aside of [false, true]) {
        const into = new Uint8Array(clusterSize).fill(1);
        await reader.decompress(sectors, into, aside);
        expect(Buffer.compare(into, bytes)).toBe(0);
      }
    }
  });

  it('makes no smaller stream of noise', async () => {
    const { codec } = codecs[name] ?? expect.fail('no such codec');
    expect((await codec.compress(cluster('noise'))).length).toBeGreaterThanOrEqual(clusterSize);
  });

  it('tells a stream that is cut short, of another size or none', async () => {
    const { codec, readers } = codecs[name] ?? expect.fail('no such codec');
    const stream = await codec.compress(cluster('text'));
    const short = await codec.compress(cluster('text').subarray(0, clusterSize / 2));
    for (const bad of [stream.subarray(0, stream.length >> 1), stream.subarray(0, 3), short, new Uint8Array(600).fill(0xff)]) {
      for (const reader of readers) {
        for (const aside of [false, true]) {
          await expect(async () => await reader.decompress(bad, new Uint8Array(clusterSize), aside)).rejects.toMatchObject({ code: 'EIO' });
        }
      }
    }
  });

  it('compresses several at once', async () => {
    const { codec, readers } = codecs[name] ?? expect.fail('no such codec');
    const streams = await Promise.all(Array.from({ length: 40 }, async (_, i) => codec.compress(cluster('text').fill(i, 0, 100))));
    for (const [i, stream] of streams.entries()) {
      const into = new Uint8Array(clusterSize);
      await readers[0]?.decompress(stream, into, true);
      expect([into[0], into[99], into[100]]).toEqual([i, i, cluster('text')[100]]);
    }
  });
});

describe('deflate', () => {
  it('takes the first cluster of a stream that holds more', async () => {
    const long = await deflateCodec.compress(new Uint8Array(clusterSize * 8).fill(3));
    for (const aside of [false, true]) {
      const into = new Uint8Array(clusterSize);
      await deflateCodec.decompress(long, into, aside);
      expect(into.every((byte) => byte === 3)).toBe(true);
    }
  });
});

describe('a zstd frame', () => {
  /** So many zeros as one repeated byte, with its size in the header: not every compressor writes that. */
  function frame(size: number): Buffer {
    const bytes = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.writeUInt32LE(size, 5);
    bytes.writeUIntLE((size << 3) | (1 << 1) | 1, 9, 3);
    return bytes;
  }

  it('that says it holds more than a cluster is refused before it is unpacked', async () => {
    const stream = frame(clusterSize);
    expect(() => frameOf(stream, clusterSize - 1)).toThrow('Input/output error');
    expect(frameOf(Buffer.concat([stream, Buffer.alloc(99, 0xa5)]), clusterSize).length).toBe(stream.length);
    for (const name of ['zstd of this system', 'zstd of the package']) {
      const into = new Uint8Array(clusterSize).fill(1);
      await codecs[name]?.codec.decompress(stream, into, false);
      expect(into.every((byte) => byte === 0)).toBe(true);
    }
  });
});
