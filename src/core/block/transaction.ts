/*
 * An ordered list of steps that were tried already: commit lets them take effect, abort takes them back. Both go through
 * the newest first, as QEMU does, are synchronous, and reach every step: one that throws is a bug, which is told when all
 * are done, and leaves what the step was about in an unknown state.
 */

/** Something of which nobody can say any more what it holds: it serves nobody from then on. */
export interface Breakable {
  breakDown(cause: unknown): void;
}

export interface Step {
  commit?(): void;
  abort?(): void;
  /** What is broken when one of the two throws. */
  readonly subject?: Breakable | undefined;
}

export class Transaction {
  readonly #steps: Step[] = [];

  add(step: Step): void {
    this.#steps.push(step);
  }

  // atomic: no yield
  commit(): void {
    this.#finish('commit');
  }

  // atomic: no yield
  abort(): void {
    this.#finish('abort');
  }

  #finish(way: 'commit' | 'abort'): void {
    const bugs: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        step[way]?.();
      } catch (bug) {
        step.subject?.breakDown(bug);
        bugs.push(bug);
      }
    }
    if (bugs.length > 0) throw bugs[0];
  }
}

/** Runs `body` with a transaction: committed when it returns, aborted when it throws. */
export function runTransaction<T>(body: (transaction: Transaction) => T): T {
  const transaction = new Transaction();
  let result: T;
  try {
    result = body(transaction);
  } catch (error) {
    transaction.abort();
    throw error;
  }
  transaction.commit();
  return result;
}
