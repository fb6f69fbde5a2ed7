/*
 * QEMU's image locks: one byte of the file for each permission, shared OFD locks only. Byte 100 + p: held; byte 200 + p:
 * not shared with others. Locks are set first and tested after; a conflict takes the new ones back.
 * Rule source: observed behaviour of QEMU 11.1 (docs/adr; test/differential holds both sides against each other).
 */
import { BlockError } from '../util/errors.ts';
import { type PermBits, permNames } from '../util/perm-bits.ts';
import { findLockHolder } from './lock-holder.ts';
import type { LockChange } from './storage.ts';
import type { Syscalls } from './syscalls.ts';

const heldBase = 100;
const unsharedBase = 200;
const permCount = 4;

/** The locks that somebody asked for; later ones stand for more. */
interface Ask {
  readonly held: PermBits;
  readonly unshared: PermBits;
  readonly order: number;
}

export class ImageLock {
  readonly #calls: Syscalls;
  readonly #fd: number;
  readonly #path: string;
  /** The bytes that are locked: those of the ask in force and of every one that may still come into force. */
  #held: PermBits = 0;
  #unshared: PermBits = 0;
  #inForce: Ask = { held: 0, unshared: 0, order: 0 };
  readonly #undecided = new Set<Ask>();
  #asks = 0;

  constructor(calls: Syscalls, fd: number, path: string) {
    this.#calls = calls;
    this.#fd = fd;
    this.#path = path;
  }

  /**
   * Takes the locks for `held` and `unshared` beside those that are there; commit drops what nobody needs any longer,
   * abort the new ones. Several changes may be undecided at once: of those committed the one asked for last counts.
   * `isTested`: another descriptor of ours holds these locks, which would look like somebody else's.
   */
  set(held: PermBits, unshared: PermBits, isTested = false): LockChange {
    const ask: Ask = { held, unshared, order: ++this.#asks };
    try {
      this.#add(heldBase, held & ~this.#held);
      this.#held |= held;
      this.#add(unsharedBase, unshared & ~this.#unshared);
      this.#unshared |= unshared;
      if (!isTested) this.#test(held, unshared);
    } catch (error) {
      this.#held |= held;
      this.#unshared |= unshared;
      this.#dropNeedless();
      throw error;
    }
    this.#undecided.add(ask);
    const decide = (isCommitted: boolean): void => {
      this.#undecided.delete(ask);
      if (isCommitted && ask.order > this.#inForce.order) this.#inForce = ask;
      this.#dropNeedless();
    };
    return { commit: () => decide(true), abort: () => decide(false) };
  }

  #dropNeedless(): void {
    let { held, unshared } = this.#inForce;
    for (const ask of this.#undecided) {
      held |= ask.held;
      unshared |= ask.unshared;
    }
    this.#keepOnly(held, unshared);
  }

  #add(base: number, bits: PermBits): void {
    for (let p = 0; p < permCount; p++) {
      if ((bits & (1 << p)) !== 0 && this.#calls.lockShared(this.#fd, base + p) === false) throw this.#conflict(base + p, `Failed to lock byte ${base + p}`);
    }
  }

  #test(held: PermBits, unshared: PermBits): void {
    for (let p = 0; p < permCount; p++) {
      if ((held & (1 << p)) !== 0 && this.#calls.isLockedByOther(this.#fd, unsharedBase + p)) {
        throw this.#conflict(unsharedBase + p, `Failed to get "${permNames[p]}" lock`);
      }
    }
    for (let p = 0; p < permCount; p++) {
      if ((unshared & (1 << p)) !== 0 && this.#calls.isLockedByOther(this.#fd, heldBase + p)) {
        throw this.#conflict(heldBase + p, `Failed to get shared "${permNames[p]}" lock`);
      }
    }
  }

  #keepOnly(held: PermBits, unshared: PermBits): void {
    for (let p = 0; p < permCount; p++) {
      const bit = 1 << p;
      if ((this.#held & bit) !== 0 && (held & bit) === 0) this.#calls.unlock(this.#fd, heldBase + p);
      if ((this.#unshared & bit) !== 0 && (unshared & bit) === 0) this.#calls.unlock(this.#fd, unsharedBase + p);
    }
    this.#held = held;
    this.#unshared = unshared;
  }

  #conflict(byte: number, message: string): BlockError {
    return new BlockError(message, {
      code: 'EAGAIN',
      detail: `Is another process using the image [${this.#path}]?`,
      hint: this.#holderHint(byte),
    });
  }

  #holderHint(byte: number): string | undefined {
    const holder = findLockHolder(this.#fd, byte);
    if (holder === undefined) return undefined;
    if (holder === 'this program') return `${this.#path} is open in this program already`;
    return `${this.#path} is in use by process ${holder.pid} (${holder.command})`;
  }
}
