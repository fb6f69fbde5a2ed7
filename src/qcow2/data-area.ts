/*
 * The data area: where guest data lie behind a port, so that whoever reads, writes or copies clusters need not know whether
 * they are enciphered. Plain areas hand the request on, without a promise, a copy or an allocation of their own.
 * Compressed streams do not go this way: they are never enciphered, as with the peer.
 */
import type { Child } from '../core/block/child.ts';
import type { ReqFlags } from '../core/block/driver.ts';
import type { Maybe } from '../core/util/maybe.ts';
import type { GuestPosition, HostPosition } from '../core/util/offsets.ts';

export interface DataArea {
  /** Offsets and lengths of requests are multiples of this. */
  readonly align: number;
  /** Zeros of the medium read as zeros. */
  readonly keepsZeros: boolean;
  /** Fills `into` with the guest data at `host`, which the guest sees at `guest`. */
  read(host: HostPosition, guest: GuestPosition, into: Uint8Array): Maybe<void>;
  write(host: HostPosition, guest: GuestPosition, from: Uint8Array): Maybe<void>;
  /** Only where zeros are kept. */
  zero(host: HostPosition, length: number, flags: ReqFlags): Maybe<void>;
}

export class PlainArea implements DataArea {
  readonly align = 1;
  readonly keepsZeros = true;
  readonly #child: Child;

  constructor(child: Child) {
    this.#child = child;
  }

  read(host: HostPosition, _guest: GuestPosition, into: Uint8Array): Maybe<void> {
    return this.#child.read(host, into);
  }

  write(host: HostPosition, _guest: GuestPosition, from: Uint8Array): Maybe<void> {
    return this.#child.write(host, from);
  }

  zero(host: HostPosition, length: number, flags: ReqFlags): Maybe<void> {
    return this.#child.zero(host, length, flags);
  }
}
