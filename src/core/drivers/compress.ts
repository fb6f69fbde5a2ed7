/*
 * Filter driver `compress`: what is written goes to the image below as compressed clusters, whole ones each.
 * Rule source: observed behaviour of QEMU's compress filter.
 */
import type { Child } from '../block/child.ts';
import { type DerivedLimits, limitsOver } from '../block/derived-limits.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, type NodeHost, type ReqFlags, reqFlag } from '../block/driver.ts';
import { BlockError } from '../util/errors.ts';
import { chain, type Maybe } from '../util/maybe.ts';

class CompressState implements DriverState {
  /** Who asks for compression here is told that it is no image. */
  readonly writeFlags: ReqFlags = 0xff & ~reqFlag.compressed;
  readonly #file: Child;
  /** A cluster is compressed as a whole: parts of one are read and completed first. */
  readonly #limits: DerivedLimits;

  constructor(file: Child) {
    this.#file = file;
    this.#limits = limitsOver(file, (below) => ({ ...below, requestAlign: Math.max(below.requestAlign, below.clusterSize) }));
  }

  get limits(): Limits {
    return this.#limits.value;
  }

  size(): number {
    return this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.read(offset, into, flags);
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.write(offset, from, flags | reqFlag.compressed);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    return chain(this.#file.zero(offset, length, flags), () => true);
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#file.discard(offset, length);
  }

  async close(): Promise<void> {}
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'format' });
  if (!file.node.takesCompressed) throw new BlockError(`Compression is not supported for underlying format: ${file.node.driver.name}`, { code: 'ENOTSUP' });
  return new CompressState(file);
}

export const compressDriver: BlockDriver = { name: 'compress', kind: 'filter', open };
