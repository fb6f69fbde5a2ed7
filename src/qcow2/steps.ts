/*
 * Steps: a computation written once that completes at once while everything it asks for is there, and turns into a
 * promise at the first pending answer. Metadata paths are generators that yield only what is pending; `run` carries them.
 * Hot paths (lookup, in-place write) do not use it: they are plain functions.
 */
import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import type { Mutex } from '../core/util/mutex.ts';

export type Steps<T> = Generator<Promise<unknown>, T, unknown>;

/** The value of `value`, waiting for it when it is pending: `const x = yield* wait(read())`. */
export function* wait<T>(value: Maybe<T>): Steps<T> {
  if (isPending(value)) return (yield value) as T;
  return value;
}

/** Carries `steps` out: to the end at once when nothing is pending. */
export function run<T>(steps: Steps<T>): Maybe<T> {
  const first = steps.next();
  return first.done ? first.value : continueSlow(steps, first.value);
}

async function continueSlow<T>(steps: Steps<T>, first: Promise<unknown>): Promise<T> {
  let pending = first;
  for (;;) {
    let next: IteratorResult<Promise<unknown>, T>;
    try {
      const value = await pending;
      next = steps.next(value);
    } catch (error) {
      next = steps.throw(error);
    }
    if (next.done) return next.value;
    pending = next.value;
  }
}

/** Runs `body` with the mutex held. */
export function* locked<T>(mutex: Mutex, body: () => Steps<T>): Steps<T> {
  if (!mutex.tryLock()) yield mutex.lock() as Promise<void>;
  try {
    return yield* body();
  } finally {
    mutex.unlock();
  }
}

/** Carries `steps` out; a failure is told with `context` before it. */
export function* told<T>(context: string, steps: Steps<T>): Steps<T> {
  try {
    return yield* steps;
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(context) : error;
  }
}
