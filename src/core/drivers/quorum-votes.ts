/*
 * Votes of a quorum's children: answers that are equal count together, errors by their number and data by their bytes. The
 * newest answer of those with most votes wins.
 */

interface Answer<T> {
  readonly value: T;
  /** Children that gave it. */
  readonly voters: number[];
}

export class Votes<T> {
  readonly #answers: Answer<T>[] = [];
  readonly #isSame: (one: T, other: T) => boolean;

  constructor(isSame: (one: T, other: T) => boolean) {
    this.#isSame = isSame;
  }

  add(child: number, value: T): void {
    const known = this.#answers.find((answer) => this.#isSame(answer.value, value));
    // of answers with as many votes the newest wins
    if (known === undefined) this.#answers.unshift({ value, voters: [child] });
    else known.voters.push(child);
  }

  get winner(): Answer<T> | undefined {
    let best: Answer<T> | undefined;
    for (const answer of this.#answers) if (best === undefined || answer.voters.length > best.voters.length) best = answer;
    return best;
  }
}
