/*
 * Bugs in the order of writes, put between the image and its medium: the scenarios find each of them. What no scenario
 * notices would be no proof.
 */
import { describe, expect, it } from 'vitest';
import type { Storage } from '../../src/core/storage/storage.ts';
import type { Maybe } from '../../src/core/util/maybe.ts';
import { ImageBytes } from '../support/qcow2-bytes.ts';
import { history, kib } from './histories.ts';
import { type Scenario, tryScenario } from './scenario.ts';
import type { Tape } from './tape.ts';

type Write = { readonly offset: number; readonly data: Uint8Array };

/** Clusters of the image by what they hold now. */
function kindOf(inner: Storage, offset: number): 'refcounts' | 'table' | 'data' {
  const bytes = new Uint8Array(Number(inner.size()));
  // media of scenarios answer at once
  void inner.read(0, bytes);
  const image = new ImageBytes(bytes);
  const cluster = Math.floor(offset / image.clusterSize);
  // creation puts the refcount block behind its table
  if (cluster === 2) return 'refcounts';
  const tables = image.l1Places().map((at) => Math.floor(image.offsetAt(at) / image.clusterSize));
  return cluster < 4 || tables.includes(cluster) ? 'table' : 'data';
}

/** Writes that `isHeld` picks reach the medium behind the flush that should have made them durable. */
function late(isHeld: (inner: Storage, offset: number) => boolean): Scenario['spoil'] {
  return (tape: Tape, inner: Storage, path: string): Storage => {
    const taped = tape.wrap(inner, path);
    let held: Write[] = [];
    const release = (): void => {
      for (const { offset, data } of held) void tape.record(path, { op: 'write', offset, data }, () => {});
      held = [];
    };
    return {
      ...taped,
      size: () => inner.size(),
      write: (offset: number, from: Uint8Array): Maybe<void> => {
        if (!isHeld(inner, offset)) return taped.write(offset, from);
        held.push({ offset, data: Uint8Array.from(from) });
        return inner.write(offset, from);
      },
      flush: (): Maybe<void> => {
        const flushed = taped.flush();
        release();
        return flushed;
      },
      [Symbol.asyncDispose]: async () => {
        release();
        await taped[Symbol.asyncDispose]();
      },
    };
  };
}

/** Flushes are answered, and do nothing. */
const withoutFlush: Scenario['spoil'] = (tape, inner, path) => ({ ...tape.wrap(inner, path), flush: () => {} });

const bugs: Readonly<Record<string, Scenario['spoil']>> = {
  'a flush that is dropped': withoutFlush,
  'refcounts behind the tables': late((inner, offset) => kindOf(inner, offset) === 'refcounts'),
  'tables before the data': late((inner, offset) => kindOf(inner, offset) === 'data'),
};

describe('a bug in the order of writes', () => {
  it.each(Object.entries(bugs))('%s is found', async (_, spoil) => {
    const scenario = history('seeded', {}, kib, spoil === undefined ? {} : { spoil });
    await expect(tryScenario(scenario, 400, 1000)).rejects.toThrow(/seeded, /);
  });

  it('no bug is found where there is none', async () => {
    const scenario = history('sound', {}, kib, { spoil: (tape, inner, path) => tape.wrap(inner, path) });
    expect((await tryScenario(scenario, 200, 1000)).media).toBeGreaterThanOrEqual(200);
  });
});
