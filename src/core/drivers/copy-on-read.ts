/*
 * Filter driver `copy-on-read`: what is read from below the image is kept in the image. With `bottom` that is done for data
 * of the layers down to that node only, which stay in their order meanwhile.
 * Rule source: observed behaviour of QEMU's copy-on-read filter.
 */
import { chainStatus, nodeStatus } from '../block/block-status.ts';
import { freezeChain, imageBelow } from '../block/chain.ts';
import type { Child } from '../block/child.ts';
import { readCopyingUp } from '../block/copy-up.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, type NodeHost, type PermRequest, type ReqFlags } from '../block/driver.ts';
import type { BlockNode } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { perm } from '../util/perm-bits.ts';

/** The lowest layer whose data are copied, and what keeps the links to it. */
interface Bottom {
  readonly node: BlockNode;
  readonly frozen: Disposable;
}

class CopyOnReadState implements DriverState {
  readonly writeFlags: ReqFlags = 0xff;
  readonly #file: Child;
  readonly #bottom: Bottom | undefined;

  constructor(file: Child, bottom: Bottom | undefined) {
    this.#file = file;
    this.#bottom = bottom;
  }

  get limits(): Limits {
    return this.#file.node.limits;
  }

  size(): number {
    return this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    const { node } = this.#file;
    if (this.#bottom === undefined) return readCopyingUp(node, offset, into, flags);
    return this.#readAbove(this.#bottom.node, offset, into, flags);
  }

  /** Run by run: only what a layer between the image and the bottom holds is copied. */
  async #readAbove(bottom: BlockNode, offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const looked = this.#isToCopy(bottom, offset + done, into.length - done);
      const { length, copies } = isPending(looked) ? await looked : looked;
      const part = into.subarray(done, done + length);
      await (copies ? readCopyingUp(this.#file.node, offset + done, part, flags) : this.#file.read(offset + done, part, flags));
      done += length;
    }
  }

  #isToCopy(bottom: BlockNode, offset: number, length: number): Maybe<{ readonly length: number; readonly copies: boolean }> {
    const { node } = this.#file;
    return chain(nodeStatus(node, offset, length, false), (own) => {
      const below = imageBelow(node);
      if (own.allocated || below === undefined || below === imageBelow(bottom) || node === bottom) return { length: own.length, copies: false };
      if (offset >= below.size()) return { length: own.length, copies: false };
      return chain(chainStatus(below, imageBelow(bottom), offset, Math.min(own.length, below.size() - offset), false), (deep) => {
        return { length: deep.length, copies: deep.allocated };
      });
    });
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#file.write(offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    return chain(this.#file.zero(offset, length, flags), () => true);
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#file.discard(offset, length);
  }

  async close(): Promise<void> {
    this.#bottom?.frozen[Symbol.dispose]();
  }
}

function findBottom(host: NodeHost, file: Child): Bottom | undefined {
  const name = host.options.string('bottom');
  if (name === undefined) return undefined;
  const node = host.findNode(name);
  if (node === undefined) throw new BlockError(`Bottom node '${name}' not found`, { code: 'EINVAL' });
  if (node.driver.kind === 'filter') throw new BlockError(`Bottom node '${name}' is a filter`, { code: 'EINVAL' });
  return { node, frozen: freezeChain(file.node, node, 'copy-on-read') };
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'format' });
  return new CopyOnReadState(file, findBottom(host, file));
}

const passed = perm.consistentRead | perm.write | perm.resize;

/** It writes what changes nothing for anybody, whatever its users do. */
function childPerm(_node: BlockNode, _child: Child, asked: PermRequest): PermRequest {
  return { perm: (asked.perm & passed) | perm.writeUnchanged, shared: (asked.shared & passed) | (perm.all & ~passed) };
}

export const copyOnReadDriver: BlockDriver = { name: 'copy-on-read', kind: 'filter', passesCompressed: true, open, childPerm };
