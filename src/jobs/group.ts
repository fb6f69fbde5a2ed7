/*
 * Jobs that end together: all take effect or all are undone. A job on its own is a group of one. The newest job comes
 * first, as QEMU walks its transaction. Must not know what a job does.
 */

/** What a group asks of its members; job.ts implements it. */
export interface GroupMember {
  readonly autoFinalize: boolean;
  readonly isWaiting: boolean;
  /** Tells the body to stop; does not wait. */
  requestCancel(): void;
  /** Settles when the body is over. */
  whenBodyDone(): Promise<void>;
  becomePending(): void;
  /** Last step that may fail. False: it did, and the member keeps the error. */
  prepare(): Promise<boolean>;
  conclude(): Promise<void>;
}

export class JobGroup {
  readonly #members: GroupMember[] = [];
  #abortion: Promise<void> | undefined;

  join(member: GroupMember): void {
    this.#members.unshift(member);
  }

  leave(member: GroupMember): void {
    const index = this.#members.indexOf(member);
    if (index >= 0) this.#members.splice(index, 1);
  }

  /** A member's body has ended well: when all have, they are finalized, by themselves unless one wants to be told. */
  async succeeded(): Promise<void> {
    if (this.#abortion !== undefined || !this.#members.every((member) => member.isWaiting)) return;
    for (const member of this.#members) member.becomePending();
    if (this.#members.every((member) => member.autoFinalize)) await this.finalize();
  }

  /** Lets all members take effect. */
  async finalize(): Promise<void> {
    for (const member of this.#members) {
      if (await member.prepare()) continue;
      await this.abort(member);
      return;
    }
    for (const member of [...this.#members]) await member.conclude();
  }

  /** `cause` failed or was cancelled: so are all others. Settles when all have ended. */
  abort(cause: GroupMember): Promise<void> {
    this.#abortion ??= this.#abortAll(cause);
    return this.#abortion;
  }

  async #abortAll(cause: GroupMember): Promise<void> {
    for (const member of this.#members) if (member !== cause) member.requestCancel();
    for (const member of [...this.#members]) {
      await member.whenBodyDone();
      await member.conclude();
    }
  }
}
