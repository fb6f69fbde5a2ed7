/*
 * The data area of an encrypted image. Sectors are numbered by where they lie (LUKS) or by where the guest sees them (the
 * older AES method). Rule source: qcow2 specification, encryption.
 */
import type { Child } from '../core/block/child.ts';
import type { ReqFlags } from '../core/block/driver.ts';
import { chain, type Maybe, settle } from '../core/util/maybe.ts';
import type { GuestPosition, HostPosition } from '../core/util/offsets.ts';
import { ScratchPool } from '../core/util/scratch.ts';
import type { SectorCipher } from '../crypto/sector-cipher.ts';
import { cryptoSector } from '../crypto/sector-size.ts';
import type { DataArea } from './data-area.ts';

export class EncryptedArea implements DataArea {
  readonly align: number = cryptoSector;
  readonly keepsZeros = false;
  readonly #child: Child;
  readonly #cipher: SectorCipher;
  readonly #isByHost: boolean;
  readonly #scratch = new ScratchPool();

  constructor(child: Child, cipher: SectorCipher, isByHost: boolean) {
    this.#child = child;
    this.#cipher = cipher;
    this.#isByHost = isByHost;
  }

  read(host: HostPosition, guest: GuestPosition, into: Uint8Array): Maybe<void> {
    const sector = this.#sector(host, guest);
    return chain(this.#child.read(host, into), () => this.#cipher.decrypt(sector, into, into));
  }

  write(host: HostPosition, guest: GuestPosition, from: Uint8Array): Maybe<void> {
    const sealed = this.#scratch.take(from.length);
    return settle(
      () => {
        this.#cipher.encrypt(this.#sector(host, guest), from, sealed);
        return this.#child.write(host, sealed);
      },
      () => this.#scratch.put(sealed),
    );
  }

  zero(host: HostPosition, length: number, flags: ReqFlags): Maybe<void> {
    // clusters that the map calls zero: nobody reads these
    return this.#child.zero(host, length, flags);
  }

  #sector(host: HostPosition, guest: GuestPosition): number {
    return (this.#isByHost ? host : guest) / cryptoSector;
  }
}
