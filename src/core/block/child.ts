/*
 * Child: the directed use of one node by a parent (a node, a block backend, a job). Holds the edge's name, roles and
 * permissions; every request of the parent enters io.ts of the child's node here.
 */
import type { Maybe } from '../util/maybe.ts';
import { type PermBits, perm } from '../util/perm-bits.ts';
import { nodeStatus } from './block-status.ts';
import type { BlockStatus, ChildRoles, ReqFlags, TruncateOptions } from './driver.ts';
import { discardNode, flushNode, readNode, truncateNode, writeNode, zeroNode } from './io.ts';
import type { BlockNode } from './node.ts';

/** Who uses a node. */
export interface Parent {
  /** For conflict messages: `node 'x'`, `block device 'hd0'`, `an unnamed block device`, `stream job 'j'`. */
  describe(): string;
  /** Issue no new requests until `resume`. Counted: one `resume` for each. */
  quiesce(): void;
  resume(): void;
  /** Settles when the parent has nothing in flight; never rejects. */
  whenIdle(): Maybe<void>;
  /** The node's size changed. */
  sizeChanged?(): void;
  /** Name of a block device. */
  readonly backendName?: string | undefined;
  /** Set for a node that is a parent. */
  readonly asNode?: BlockNode | undefined;
  /** The edge keeps its node when a filter is put above that (the filter's own edge, jobs' edges). */
  readonly stayAtNode?: boolean;
}

export class Child {
  readonly name: string;
  readonly roles: ChildRoles;
  readonly parent: Parent;
  /** Changed by graph.ts only. */
  node: BlockNode;
  perm: PermBits;
  shared: PermBits;
  /** Who keeps the edge as it is; set by chain.ts. */
  frozenBy: string | undefined;
  /** The parent was told to stop because the node of this edge is drained. */
  #isParentQuiesced = false;

  constructor(name: string, roles: ChildRoles, parent: Parent, node: BlockNode, permBits: PermBits = perm.none, shared: PermBits = perm.all) {
    this.name = name;
    this.roles = roles;
    this.parent = parent;
    this.node = node;
    this.perm = permBits;
    this.shared = shared;
  }

  /** Stops the parent, or lets it go on, as the node it has now is drained or not. Called after every change of the edge. */
  followQuiesce(): void {
    const shall = this.node.quiesceCount > 0 && this.node.parents.includes(this);
    if (shall === this.#isParentQuiesced) return;
    this.#isParentQuiesced = shall;
    if (shall) this.parent.quiesce();
    else this.parent.resume();
  }

  size(): number {
    return this.node.size();
  }

  /** Fills `into`; past the end of the node reads zeros. */
  read(offset: number, into: Uint8Array, flags: ReqFlags = 0): Maybe<void> {
    return readNode(this.node, offset, into, flags);
  }

  /** Writes `from`. Past the end of the node it grows if the driver can (files). */
  write(offset: number, from: Uint8Array, flags: ReqFlags = 0): Maybe<void> {
    return writeNode(this.node, offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags = 0): Maybe<void> {
    return zeroNode(this.node, offset, length, flags);
  }

  discard(offset: number, length: number): Maybe<void> {
    return discardNode(this.node, offset, length);
  }

  flush(): Maybe<void> {
    return flushNode(this.node);
  }

  status(offset: number, length: number, precise = true): Maybe<BlockStatus> {
    return nodeStatus(this.node, offset, length, precise);
  }

  truncate(size: number, options: TruncateOptions): Promise<void> {
    return truncateNode(this.node, size, options);
  }
}
