/*
 * Jobs that end together: all take effect or all are undone. A job on its own is a group of one. Members conclude in one
 * graph turn and one drained section, so that no request falls between the first and the last. The newest job comes first,
 * as QEMU walks its transaction. Must not know what a job does.
 */
import { drainNodes } from '../core/block/drain.ts';
import type { BlockNode } from '../core/block/node.ts';

/** What a group asks of its members; job.ts implements it. */
export interface GroupMember {
  readonly autoFinalize: boolean;
  readonly isWaiting: boolean;
  /** The nodes that are quiet while it concludes. */
  readonly usedNodes: readonly BlockNode[];
  /** Tells the body to stop; does not wait. */
  requestCancel(): void;
  /** Settles when the body is over. */
  whenBodyDone(): Promise<void>;
  becomePending(): void;
  /** Last step that may fail; runs once. False: it did, and the member keeps the error. */
  prepare(): Promise<boolean>;
  /** Runs `body` in a graph turn. */
  inTurn(body: () => Promise<void>): Promise<void>;
  /** Takes effect or is undone, and is over. Never fails. */
  conclude(): Promise<void>;
}

export class JobGroup {
  readonly #members: GroupMember[] = [];
  /** The end of the group, whichever began first. */
  #ending: Promise<void> | undefined;
  #isAborting = false;

  join(member: GroupMember): void {
    this.#members.unshift(member);
  }

  leave(member: GroupMember): void {
    const index = this.#members.indexOf(member);
    if (index >= 0) this.#members.splice(index, 1);
  }

  /** A member's body has ended well: when all have, they are finalized, by themselves unless one wants to be told. */
  async succeeded(): Promise<void> {
    if (this.#ending !== undefined || !this.#members.every((member) => member.isWaiting)) return;
    for (const member of this.#members) member.becomePending();
    if (this.#members.every((member) => member.autoFinalize)) await this.finalize();
  }

  /** Lets all members take effect; settles when all have ended. */
  finalize(): Promise<void> {
    this.#ending ??= this.#finalizeAll();
    return this.#ending;
  }

  async #finalizeAll(): Promise<void> {
    for (const member of [...this.#members]) {
      if (this.#isAborting || (await member.prepare())) continue;
      return this.#abortAll(member);
    }
    if (this.#isAborting) return this.#abortAll();
    await this.#concludeAll();
  }

  /**
   * `cause` failed or was cancelled: so are all others. Settles when all have ended. Where they are being finalized and have
   * not begun to take effect, they are undone instead; where they have, their end is waited for.
   */
  abort(cause: GroupMember): Promise<void> {
    this.#isAborting = true;
    this.#ending ??= this.#abortAll(cause);
    return this.#ending;
  }

  async #abortAll(cause?: GroupMember): Promise<void> {
    this.#isAborting = true;
    for (const member of this.#members) if (member !== cause) member.requestCancel();
    for (const member of [...this.#members]) await member.whenBodyDone();
    await this.#concludeAll();
  }

  async #concludeAll(): Promise<void> {
    const members = [...this.#members];
    await members[0]?.inTurn(async () => {
      using _section = await drainNodes(members.flatMap((member) => member.usedNodes));
      for (const member of members) await member.conclude();
    });
  }
}
