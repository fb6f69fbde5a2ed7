/*
 * The one machine that moves data in bulk, for convert, backup and what else copies: pieces in, each in two halves of which
 * the first run side by side and the second, where order counts, one behind the other; so many in flight, at a rate, with a
 * say about errors, until all is moved or it is cancelled. While nothing is pending below it is a plain synchronous loop.
 * Knows no node, no job and no command: its plan does.
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';

/** Something to move. */
export interface TransferPiece {
  /** Bytes, as rates and budgets count them. */
  readonly length: number;
}

export interface TransferPlan<P extends TransferPiece> {
  /** The next piece, undefined when there is none now; asked again after an error and at the end. */
  next(): Maybe<P | undefined>;
  /** First half of a piece (a read): beside those of others. */
  begin?(piece: P): Maybe<void>;
  /** Second half (a write, or the whole): after `begin`, and with `ordered` after all pieces before it. */
  finish(piece: P): Maybe<void>;
  /** The piece is out of the machine, whatever came of it. */
  done?(piece: P): void;
  /** Pieces in the machine at once; at least 1. */
  readonly inFlight: number;
  readonly ordered: boolean;
  /** Decides about the first error once nothing is in flight: settles to go on, throws to fail. Absent: it fails. */
  onError?(error: unknown): Promise<void>;
  /** Milliseconds to wait after `bytes` more; the wait itself, begun with nothing in flight. */
  delayFor?(bytes: number): number;
  sleep?(ms: number): Promise<void>;
  /** Gives everyone else a turn. */
  tick(bytes: number): Maybe<void>;
  /** Somebody wants it to stop for a while: `pause` is called with nothing in flight. */
  readonly mustPause?: boolean;
  pause?(): Promise<void>;
  readonly isCancelled?: boolean;
}

/** Moves all pieces of the plan. Rejects with the first error that the plan does not forgive; nothing is in flight when it settles. */
export async function transfer<P extends TransferPiece>(plan: TransferPlan<P>): Promise<void> {
  await new Transfer(plan).run();
}

class Transfer<P extends TransferPiece> {
  readonly #plan: TransferPlan<P>;
  #inFlight = 0;
  /** Settles when the last of the ordered second halves has; never rejects. */
  #last: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(plan: TransferPlan<P>) {
    this.#plan = plan;
  }

  async run(): Promise<void> {
    const plan = this.#plan;
    for (;;) {
      if (plan.isCancelled === true) break;
      if (this.#failure !== undefined || plan.mustPause === true) {
        await this.#stop();
        continue;
      }
      if (this.#inFlight >= Math.max(1, plan.inFlight)) {
        await this.#oneOut();
        continue;
      }
      const found = this.#next();
      const piece = isPending(found) ? await found : found;
      if (piece === undefined) {
        if (this.#inFlight === 0 && this.#failure === undefined) break;
        await this.#quiet();
        continue;
      }
      this.#start(piece);
      if ((plan.delayFor?.(piece.length) ?? 0) > 0 && this.#failure === undefined) {
        await this.#quiet();
        // asked again: the rate may be another by now, and nobody could be woken
        await plan.sleep?.(plan.delayFor?.(0) ?? 0);
      }
      const turn = plan.tick(piece.length);
      if (isPending(turn)) await turn;
    }
    await this.#quiet();
    if (this.#failure !== undefined && plan.isCancelled !== true) throw this.#failure.error;
  }

  /** Where to go on; when that cannot be told, everything in flight is waited for before the error ends it. */
  #next(): Maybe<P | undefined> {
    try {
      const found = this.#plan.next();
      return isPending(found) ? found.catch((error: unknown) => this.#quietThenThrow(error)) : found;
    } catch (error) {
      return this.#quietThenThrow(error);
    }
  }

  /** An error to decide about, or a pause: both with nothing in flight. */
  async #stop(): Promise<void> {
    await this.#quiet();
    if (this.#plan.isCancelled === true) return;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) {
      if (this.#plan.onError === undefined) throw failure.error;
      await this.#plan.onError(failure.error);
    }
    if (this.#plan.mustPause === true) await this.#plan.pause?.();
  }

  async #quiet(): Promise<void> {
    while (this.#inFlight > 0) await this.#oneOut();
  }

  async #quietThenThrow(error: unknown): Promise<never> {
    await this.#quiet();
    throw this.#failure === undefined ? error : this.#failure.error;
  }

  #oneOut(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #start(piece: P): void {
    this.#inFlight++;
    let begun: Maybe<void>;
    try {
      begun = this.#plan.begin?.(piece);
      if (!isPending(begun) && this.#last === undefined) {
        const finished = this.#plan.finish(piece);
        if (!isPending(finished)) this.#out(piece);
        else this.#follow(piece, finished);
        return;
      }
    } catch (error) {
      if (this.#last === undefined) {
        // nothing before it can fail any more: the next piece must not begin
        this.#failure ??= { error };
        this.#out(piece);
        return;
      }
      begun = Promise.reject(error);
    }
    this.#follow(piece, this.#later(piece, begun, this.#last));
  }

  async #later(piece: P, begun: Maybe<void>, before: Promise<void> | undefined): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    try {
      await begun;
    } catch (error) {
      failure = { error };
    }
    // an earlier piece's error is the one to tell
    await before;
    if (failure !== undefined) throw failure.error;
    if (this.#plan.ordered && this.#failure !== undefined) return;
    await this.#plan.finish(piece);
  }

  #follow(piece: P, pending: Promise<void>): void {
    const settled: Promise<void> = pending.then(
      () => this.#settled(piece, settled),
      (error: unknown) => {
        this.#failure ??= { error };
        this.#settled(piece, settled);
      },
    );
    if (this.#plan.ordered) this.#last = settled;
  }

  #settled(piece: P, self: Promise<void>): void {
    if (this.#last === self) this.#last = undefined;
    this.#out(piece);
  }

  #out(piece: P): void {
    this.#inFlight--;
    this.#plan.done?.(piece);
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
