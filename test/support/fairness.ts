/*
 * Readers of a fleecing target, a guest that writes, one that discards, and somebody who resizes the disk, all at once: each
 * class alone first, then together; how often each gets its turn, and how long it waits at most. Used by a test (media in
 * memory, a clock moved by hand) and by scripts/fairness.mjs (files, real time).
 */
import { BlockBackend, readerPerms } from '../../src/core/block/backend.ts';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { OpenStorage } from '../../src/core/storage/storage.ts';
import type { Clock } from '../../src/core/util/clock.ts';
import { perm } from '../../src/core/util/perm-bits.ts';
import { createImage } from '../../src/engine/create.ts';
import { Engine } from '../../src/engine/engine.ts';
import { resizeNode } from '../../src/engine/ops/nodes.ts';
import { type Random, seeded } from './random.ts';

const cluster = 65536;
const block = 4096;
/** Every how many clusters the disk has content; the others read as zeros. */
const dataEvery = 4;

export interface FairnessOptions {
  readonly clock: Clock;
  /** Opens `disk` (made here) and `target`. */
  readonly openStorage: OpenStorage;
  /** Clusters of the disk: the guest must not come to the end of its half. */
  readonly clusters: number;
  readonly aloneMs: number;
  readonly togetherMs: number;
  /** Requests that each reader has under way at each of the two places. */
  readonly depth: number;
  /** Each request to a medium takes this, and up to three times as long. */
  readonly delayMs: number;
  readonly seed: number;
}

export interface ClassResult {
  readonly name: string;
  /** Milliseconds: the middle one of all waits when nobody else is there. */
  readonly aloneMedian: number;
  readonly perSecond: number;
  readonly longest: number;
}

/** Plays it. Rejects when the view shows anything but the disk at the beginning. */
export async function playFairness(options: FairnessOptions): Promise<ClassResult[]> {
  const scene = await Scene.open(options);
  try {
    const alone = new Map<string, number[]>();
    for (const name of classNames) alone.set(name, (await scene.run([name], options.aloneMs)).get(name) ?? []);
    const together = await scene.run(classNames, options.togetherMs);
    return classNames.map((name) => {
      const waits = together.get(name) ?? [];
      return {
        name,
        aloneMedian: median(alone.get(name) ?? []),
        perSecond: waits.length / (options.togetherMs / 1000),
        longest: waits.reduce((most, wait) => Math.max(most, wait), 0),
      };
    });
  } finally {
    await scene.close();
  }
}

export function fairnessTable(results: readonly ClassResult[]): string {
  return results
    .map(({ name, aloneMedian, perSecond, longest }) => {
      const times = longest / aloneMedian;
      return `${name.padEnd(10)} alone ${aloneMedian.toFixed(1)} ms; together ${perSecond.toFixed(0)} a second, longest wait ${longest.toFixed(1)} ms = ${times.toFixed(1)} times`;
    })
    .join('\n');
}

const classNames = ['reader', 'write', 'discard', 'resize'] as const;
type ClassName = (typeof classNames)[number];

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** What the disk holds at the beginning. */
function contentOf(index: number): number {
  return index % dataEvery === 0 ? 1 + (index % 250) : 0;
}

class Scene {
  readonly #engine: Engine;
  readonly #guest: BlockBackend;
  readonly #views: BlockBackend[];
  readonly #options: FairnessOptions;
  readonly #random: Random;
  /** The cluster that the guest will write next, and the one that it will discard next: readers are there already. */
  #writing: number;
  #discarding: number;
  #isLarger = false;

  private constructor(engine: Engine, guest: BlockBackend, views: BlockBackend[], options: FairnessOptions) {
    this.#engine = engine;
    this.#guest = guest;
    this.#views = views;
    this.#options = options;
    this.#random = seeded(options.seed);
    this.#writing = 0;
    this.#discarding = Math.floor(options.clusters / 2);
  }

  static async open(options: FairnessOptions): Promise<Scene> {
    const size = options.clusters * cluster;
    const { clock } = options;
    const random = seeded(options.seed + 1);
    let isSlow = false;
    const engine = new Engine({
      clock,
      openStorage: async (path, how) =>
        new FaultyStorage(await options.openStorage(path, how), { before: () => (isSlow ? clock.sleep(options.delayMs * (1 + random(3))) : undefined) }),
    });
    await createImage(engine, 'raw', 'disk', { size });
    const writer = await engine.openBackend({ filename: 'disk', format: 'raw', readOnly: false });
    for (let index = 0; index < options.clusters; index += dataEvery) await writer.write(index * cluster, new Uint8Array(block).fill(contentOf(index)));
    await engine.closeBackend(writer);
    await createImage(engine, 'qcow2', 'target', { size });
    await engine.addNode({ driver: 'raw', 'node-name': 'disk', discard: 'unmap', file: { driver: 'file', filename: 'disk', discard: 'unmap' } });
    const target = await engine.addNode({ driver: 'qcow2', 'node-name': 'target', backing: 'disk', file: { driver: 'file', filename: 'target' } });
    const filter = await engine.addNode({ driver: 'copy-before-write', 'node-name': 'cbw', discard: 'unmap', file: 'disk', target: 'target' });
    const guest = new BlockBackend(engine.graph, { perm: perm.consistentRead | perm.write, shared: perm.all & ~perm.write });
    guest.insert(filter);
    const views = Array.from({ length: 4 }, () => {
      const view = new BlockBackend(engine.graph, readerPerms);
      view.insert(target);
      return view;
    });
    isSlow = true;
    return new Scene(engine, guest, views, options);
  }

  /** Lets the classes work side by side for `ms`; how long each of their requests took. */
  async run(names: readonly ClassName[], ms: number): Promise<Map<ClassName, number[]>> {
    const { clock } = this.#options;
    const end = clock.now() + ms;
    const waits = new Map<ClassName, number[]>(names.map((name) => [name, []]));
    const lane = async (name: ClassName, request: () => Promise<void>): Promise<void> => {
      while (clock.now() < end) {
        const start = clock.now();
        await request();
        waits.get(name)?.push(clock.now() - start);
        // answered from memory: the client takes a moment too
        if (clock.now() - start < 0.5) await clock.sleep(0.5);
      }
    };
    const lanes: Promise<void>[] = [];
    if (names.includes('reader')) {
      // some requests are under way where the guest writes next, and some where it discards next
      for (const view of this.#views.flatMap((one) => Array.from({ length: this.#options.depth }, () => one))) {
        lanes.push(
          lane('reader', () => this.#read(view, this.#writing)),
          lane('reader', () => this.#read(view, this.#discarding)),
        );
      }
    }
    if (names.includes('write')) lanes.push(lane('write', () => this.#write()));
    if (names.includes('discard')) lanes.push(lane('discard', () => this.#discard()));
    if (names.includes('resize')) lanes.push(lane('resize', () => this.#resize()));
    await Promise.all(lanes);
    return waits;
  }

  async #read(view: BlockBackend, index: number): Promise<void> {
    const into = new Uint8Array(block);
    await view.read(index * cluster, into);
    const expected = contentOf(index);
    if (into.some((byte) => byte !== expected)) throw new Error(`the view shows ${into[0]} in cluster ${index}, and not ${expected}`);
  }

  async #write(): Promise<void> {
    if (this.#writing >= this.#options.clusters / 2 - 1) throw new Error('the disk is too small for so many writes');
    const index = this.#writing;
    await this.#guest.write(index * cluster, new Uint8Array(block).fill(251 + this.#random(4)));
    this.#writing++;
  }

  async #discard(): Promise<void> {
    if (this.#discarding >= this.#options.clusters - 1) throw new Error('the disk is too small for so many discards');
    await this.#guest.discard(this.#discarding * cluster, cluster);
    this.#discarding++;
  }

  async #resize(): Promise<void> {
    const node = this.#engine.graph.find('cbw');
    if (node === undefined) throw new Error('the filter is gone');
    this.#isLarger = !this.#isLarger;
    await resizeNode(this.#engine, node, (this.#options.clusters + (this.#isLarger ? 16 : 0)) * cluster);
  }

  async close(): Promise<void> {
    for (const view of this.#views) await view.remove();
    await this.#guest.remove();
    await this.#engine.close();
  }
}
