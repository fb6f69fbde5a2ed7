/* An ordered list of steps that were tried already: commit runs them in order, abort in reverse. Both are synchronous. */

export interface Step {
  commit?(): void;
  abort?(): void;
}

export class Transaction {
  readonly #steps: Step[] = [];

  add(step: Step): void {
    this.#steps.push(step);
  }

  // atomic: no yield
  commit(): void {
    const steps = this.#steps.splice(0);
    for (const step of steps) step.commit?.();
  }

  // atomic: no yield
  abort(): void {
    const steps = this.#steps.splice(0);
    for (const step of steps.reverse()) step.abort?.();
  }
}

/** Runs `body` with a transaction: committed when it returns, aborted when it throws. */
export function runTransaction<T>(body: (transaction: Transaction) => T): T {
  const transaction = new Transaction();
  try {
    const result = body(transaction);
    transaction.commit();
    return result;
  } catch (error) {
    transaction.abort();
    throw error;
  }
}
