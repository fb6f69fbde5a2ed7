import { describe, expect, it } from 'vitest';
import { DiscardQueue } from '../../src/qcow2/discard-queue.ts';
import { seeded } from '../support/random.ts';

describe('the discard queue', () => {
  it('joins what goes on where the last range ended, and only that', () => {
    const queue = new DiscardQueue();
    queue.add(1000, 10);
    queue.add(1010, 5);
    queue.add(995, 5);
    expect(queue.drain()).toEqual([
      { offset: 1000, length: 15 },
      { offset: 995, length: 5 },
    ]);
  });

  it('is empty before, and after it was drained', () => {
    const queue = new DiscardQueue();
    expect(queue.isEmpty).toBe(true);
    queue.add(0, 1);
    expect(queue.isEmpty).toBe(false);
    queue.drain();
    expect(queue.isEmpty).toBe(true);
    expect(queue.drain()).toEqual([]);
  });

  it.each([
    ['the whole', 100, 50, []],
    ['its start', 90, 30, [{ offset: 120, length: 30 }]],
    ['its end', 120, 100, [{ offset: 100, length: 20 }]],
    [
      'its middle',
      110,
      10,
      [
        { offset: 100, length: 10 },
        { offset: 120, length: 30 },
      ],
    ],
    ['what ends where it starts', 50, 50, [{ offset: 100, length: 50 }]],
    ['what starts where it ends', 150, 50, [{ offset: 100, length: 50 }]],
  ])('gives up %s when that is taken', (_name, offset, length, left) => {
    const queue = new DiscardQueue();
    queue.add(100, 50);
    queue.take(offset, length);
    expect(queue.drain()).toEqual(left);
  });

  it('asks for the tables first where something queued was shared, until it is drained', () => {
    const queue = new DiscardQueue();
    queue.orderBehindTables();
    expect(queue.needsOrder).toBe(false);
    queue.add(0, 1);
    queue.orderBehindTables();
    expect(queue.needsOrder).toBe(true);
    queue.drain();
    expect(queue.needsOrder).toBe(false);
  });

  it('holds what a set of clusters would', () => {
    const random = seeded(3);
    const queue = new DiscardQueue();
    const model = new Set<number>();
    for (let step = 0; step < 500; step++) {
      const start = random(40);
      const length = 1 + random(6);
      const isTaken = random(2) === 0;
      for (let at = start; at < start + length; at++) {
        if (isTaken) model.delete(at);
        else if (!model.has(at)) {
          model.add(at);
          queue.add(at, 1);
        }
      }
      if (isTaken) queue.take(start, length);
    }
    const found = queue.drain().flatMap(({ offset, length }) => Array.from({ length }, (_, index) => offset + index));
    expect(found.sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b));
  });
});
