/*
 * The COPIED flags of the active tables: set exactly where the refcount is 1.
 * Rule source: qcow2 specification, L1 and L2 entries; messages as observed.
 */
import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import type { Findings } from './check-findings.ts';
import type { Qcow2Image } from './image.ts';
import { entryHex } from './l2-entry.ts';
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO, two32 } from './layout.ts';
import { structure } from './overlap.ts';
import { exactRefcount, refcountOf } from './refcount-blocks.ts';
import { repairWrite } from './repair-write.ts';
import { run as carryOut } from './steps.ts';

export async function checkCopiedFlags(image: Qcow2Image, findings: Findings): Promise<void> {
  const { result, fix } = findings;
  // with counts that are right, the flags follow from them: that loses nothing, even where only leaks are to be repaired
  const areCountsRight = result.checkErrors === 0 && result.corruptions === 0 && result.leaks === 0;
  const mayFix = (fix.errors && result.checkErrors === 0) || (fix.leaks && areCountsRight);
  await new CopiedFlags(image, findings, mayFix).walk();
}

class CopiedFlags {
  readonly #image: Qcow2Image;
  readonly #findings: Findings;
  readonly #mayFix: boolean;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(image: Qcow2Image, findings: Findings, mayFix: boolean) {
    this.#image = image;
    this.#findings = findings;
    this.#mayFix = mayFix;
    this.#bytes = new Uint8Array(image.geometry.clusterSize);
    this.#view = new DataView(this.#bytes.buffer);
  }

  async walk(): Promise<void> {
    const image = this.#image;
    for (let index = 0; index < image.l1Entries; index++) {
      const offset = image.l2TableOf(index);
      if (offset === 0) continue;
      const counted = this.#countOf(offset);
      const refcount = isPending(counted) ? await counted : counted;
      if (refcount === undefined) continue;
      if ((refcount === 1) !== image.isL2Copied(index)) await this.#wrongL1(index, offset, refcount);
      await this.#table(offset);
      await image.budget.tick(image.geometry.clusterSize);
    }
  }

  async #wrongL1(index: number, offset: number, refcount: number): Promise<void> {
    const image = this.#image;
    const hi = image.l1View.getUint32(index * 8);
    const lo = image.l1View.getUint32(index * 8 + 4);
    this.#findings.say(
      `${this.#verb} OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${entryHex(hi, lo)} refcount=${await this.#exactCount(offset, refcount)}`,
    );
    if (!this.#mayFix) {
      this.#findings.result.corruptions++;
      return;
    }
    try {
      await carryOut(image.updateL1Words(index, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0, lo));
    } catch (error) {
      this.#findings.result.checkErrors++;
      throw error;
    }
    this.#findings.result.corruptionsFixed++;
  }

  get #verb(): string {
    return this.#mayFix ? 'Repairing' : 'ERROR';
  }

  /** Undefined when it cannot be read: told before, by the comparison of counts. */
  #countOf(offset: number): Maybe<number | undefined> {
    try {
      const count = carryOut(refcountOf(this.#image, Math.floor(offset / this.#image.geometry.clusterSize)));
      return isPending(count) ? count.catch(() => undefined) : count;
    } catch {
      return undefined;
    }
  }

  async #table(offset: number): Promise<void> {
    const image = this.#image;
    const { clusterSize, entrySize } = image.geometry;
    await image.readFile(offset, this.#bytes);
    let fixed = 0;
    for (let at = 0; at < clusterSize; at += entrySize) {
      const hi = this.#view.getUint32(at);
      const lo = this.#view.getUint32(at + 4);
      if ((hi & COMPRESSED_HI) !== 0) continue;
      const host = (hi & OFFSET_HI) * two32 + ((lo & OFFSET_LO) >>> 0);
      const isCopied = (hi & COPIED_HI) !== 0;
      if (host === 0 && !(image.hasDataFile && isCopied)) continue;
      const counted = image.hasDataFile ? 1 : this.#countOf(host);
      const refcount = isPending(counted) ? await counted : counted;
      if (refcount === undefined || (refcount === 1) === isCopied) continue;
      this.#findings.say(`${this.#verb} OFLAG_COPIED data cluster: l2_entry=${entryHex(hi, lo)} refcount=${await this.#exactCount(host, refcount)}`);
      if (this.#mayFix) {
        this.#view.setUint32(at, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0);
        fixed++;
      } else this.#findings.result.corruptions++;
    }
    if (fixed > 0) await this.#write(offset, fixed);
  }

  async #write(offset: number, fixed: number): Promise<void> {
    const image = this.#image;
    try {
      image.l2Cache.forget(offset, this.#bytes.length);
      await carryOut(repairWrite(image, offset, this.#bytes, structure.activeL2));
      await image.flushMedium();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      const what = image.broken === undefined ? 'Could not write L2 table' : 'Could not write L2 table; metadata overlap check failed';
      this.#findings.checkError(`ERROR: ${what}: ${error.message}`);
      throw error;
    }
    this.#findings.result.corruptionsFixed += fixed;
  }

  #exactCount(offset: number, count: number): Maybe<number | bigint> {
    return carryOut(exactRefcount(this.#image, Math.floor(offset / this.#image.geometry.clusterSize), count));
  }
}
