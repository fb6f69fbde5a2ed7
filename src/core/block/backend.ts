/*
 * BlockBackend: a user at the root of a graph: a guest device, an export, a job, a command-line tool. Checks bounds,
 * counts its requests, and queues them while a drained section is open. Everything below sees valid requests only.
 */
import { BlockError, invariant } from '../util/errors.ts';
import { isPending, type Maybe } from '../util/maybe.ts';
import { type PermBits, perm } from '../util/perm-bits.ts';
import { Waiters } from '../util/waiters.ts';
import { type ChainStatus, chainStatus } from './block-status.ts';
import type { Child, Parent } from './child.ts';
import { childRole, type Limits, noLimits, type PermRequest, type ReqFlags, reqFlag, type TruncateOptions } from './driver.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';
import { runTransaction, type Transaction } from './transaction.ts';

export interface BackendOptions {
  readonly perm: PermBits;
  readonly shared: PermBits;
  /** Name of the block device (`ide0-hd0`); unnamed users have none. */
  readonly name?: string;
  /** For conflict messages; by default from the name. */
  readonly describe?: () => string;
  readonly onSizeChanged?: () => void;
  readonly stayAtNode?: boolean;
  /** Name of the root edge in conflict messages and in the block graph; default `root`. */
  readonly edgeName?: string;
}

export class BlockBackend implements Parent, AsyncDisposable {
  readonly name: string | undefined;
  /** Later ones have larger numbers. */
  readonly order: number;
  readonly #graph: Graph;
  readonly #options: BackendOptions;
  #perm: PermBits;
  #shared: PermBits;
  #root: Child | undefined;
  #inFlight = 0;
  #quiesced = 0;
  /** Requests that came in a drained section. */
  readonly #queue = new Waiters();
  readonly #idle = new Waiters();

  constructor(graph: Graph, options: BackendOptions) {
    this.#graph = graph;
    this.#options = options;
    this.name = options.name;
    this.order = graph.countUser();
    this.#perm = options.perm;
    this.#shared = options.shared;
  }

  /** The node it uses; undefined for an empty drive. */
  get node(): BlockNode | undefined {
    return this.#root?.node;
  }

  get root(): Child | undefined {
    return this.#root;
  }

  get backendName(): string | undefined {
    return this.name;
  }

  get isWritable(): boolean {
    return (this.#perm & perm.write) !== 0;
  }

  get readOnly(): boolean {
    return this.#root?.node.readOnly ?? true;
  }

  get limits(): Limits {
    return this.#root?.node.limits ?? noLimits;
  }

  get stayAtNode(): boolean {
    return this.#options.stayAtNode ?? false;
  }

  /** Attaches a node to an empty backend. Throws on a permission conflict, changing nothing. */
  insert(node: BlockNode, transaction?: Transaction): void {
    invariant(this.#root === undefined, 'backend has a node');
    const attach = (into: Transaction): void => {
      this.#root = this.#graph.attach(this.#options.edgeName ?? 'root', childRole.filtered | childRole.primary, this, node, into, {
        perm: this.#perm,
        shared: this.#shared,
      });
      into.add({ abort: () => (this.#root = undefined) });
    };
    if (transaction === undefined) runTransaction(attach);
    else attach(transaction);
  }

  /** Takes the node away, and closes it when this was the last user. What is in flight ends first; what comes meanwhile finds no medium. */
  async remove(): Promise<void> {
    const root = this.#root;
    if (root === undefined) return;
    const { node } = root;
    // an idle moment need not come by itself
    this.quiesce();
    try {
      await this.#whenIdleDrained(node);
      // somebody else may have been quicker
      if (this.#root !== root) return;
      runTransaction((transaction) => this.#graph.detach(root, transaction));
      this.#root = undefined;
    } finally {
      this.resume();
    }
    await this.#graph.releaseUnused(node);
  }

  /** On a drained node nobody waits for a rate limit. */
  async #whenIdleDrained(node: BlockNode): Promise<void> {
    const idle = this.whenIdle();
    if (!isPending(idle)) return;
    node.quiesce();
    try {
      await idle;
    } finally {
      node.resume();
    }
  }

  /** Changes what this user needs and shares. Throws on a conflict, changing nothing. */
  setPerm(needed: PermBits, shared: PermBits): void {
    const root = this.#root;
    if (root !== undefined) runTransaction((transaction) => this.#graph.setPerm(root, needed, shared, transaction));
    this.#perm = needed;
    this.#shared = shared;
  }

  get perms(): { perm: PermBits; shared: PermBits } {
    return { perm: this.#perm, shared: this.#shared };
  }

  /** Known also while a removable medium is out. */
  size(): number {
    return this.#requireRoot().size();
  }

  /** The size, of a medium that is there. Throws what `tell` makes of the reason where there is none. */
  mediumSize(tell: (reason: string) => string): number {
    try {
      return this.#requireMedium().size();
    } catch (error) {
      throw error instanceof BlockError ? error.with({ message: tell(error.message) }) : error;
    }
  }

  // -- requests -----------------------------------------------------------------------------------------------------
  // Requests that come in a drained section are looked at when it is over: the node may be gone, or have another size.
  /** Fills `into`. Fails with EIO when the range leaves the node. */
  read(offset: number, into: Uint8Array): Maybe<void> {
    if (this.#quiesced > 0) return this.#queued(() => this.read(offset, into));
    const result = this.#check(offset, into.length).read(offset, into, 0);
    return isPending(result) ? this.#count(result) : undefined;
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags = reqFlag.none): Maybe<void> {
    if (this.#quiesced > 0) return this.#queued(() => this.write(offset, from, flags));
    const result = this.#check(offset, from.length).write(offset, from, flags);
    return isPending(result) ? this.#count(result) : undefined;
  }

  zero(offset: number, length: number, flags: ReqFlags = reqFlag.none): Maybe<void> {
    if (this.#quiesced > 0) return this.#queued(() => this.zero(offset, length, flags));
    const result = this.#check(offset, length).zero(offset, length, flags);
    return isPending(result) ? this.#count(result) : undefined;
  }

  discard(offset: number, length: number): Maybe<void> {
    if (this.#quiesced > 0) return this.#queued(() => this.discard(offset, length));
    const result = this.#check(offset, length).discard(offset, length);
    return isPending(result) ? this.#count(result) : undefined;
  }

  flush(): Maybe<void> {
    if (this.#quiesced > 0) return this.#queued(() => this.flush());
    const result = this.#requireMedium().flush();
    return isPending(result) ? this.#count(result) : undefined;
  }

  /** State of the run at `offset` through the whole chain (or down to `base`). */
  status(offset: number, length: number, options: { readonly base?: BlockNode; readonly precise?: boolean } = {}): Maybe<ChainStatus> {
    if (this.#quiesced > 0) return this.#queued(() => this.status(offset, length, options));
    // what lies where is known without the medium
    const { node } = this.#checkRange(this.#requireRoot(), offset, length);
    const result = chainStatus(node, options.base, offset, length, options.precise ?? true);
    return isPending(result) ? this.#count(result) : result;
  }

  /** Changes the size. Not queued: whoever changes a node under others holds a drained section. */
  async truncate(size: number, options: TruncateOptions): Promise<void> {
    const root = this.#requireRoot();
    if (this.#graph.hasRemovable && !root.node.isInserted) throw new BlockError('No medium inserted', { code: 'ENOMEDIUM' });
    await this.#count(root.truncate(size, options));
  }

  #requireRoot(): Child {
    if (this.#root === undefined) throw noMedium();
    return this.#root;
  }

  #requireMedium(): Child {
    const root = this.#requireRoot();
    if (this.#graph.hasRemovable && !root.node.isInserted) throw noMedium();
    return root;
  }

  #check(offset: number, length: number): Child {
    return this.#checkRange(this.#requireMedium(), offset, length);
  }

  #checkRange(root: Child, offset: number, length: number): Child {
    // written so that NaN and fractions fail too
    if (!(offset >= 0 && length >= 0 && offset + length <= root.node.size())) throw new BlockError('Input/output error', { code: 'EIO' });
    return root;
  }

  #count<T>(pending: Promise<T>): Promise<T> {
    this.#inFlight++;
    return pending.then(
      (value) => {
        this.#leave();
        return value;
      },
      (error: unknown) => {
        this.#leave();
        throw error;
      },
    );
  }

  #leave(): void {
    if (--this.#inFlight === 0) this.#idle.wakeAll();
  }

  async #queued<T>(again: () => Maybe<T>): Promise<T> {
    await this.#queue.wait();
    return again();
  }

  // -- as a parent --------------------------------------------------------------------------------------------------
  describe(): string {
    return this.#options.describe?.() ?? (this.name ? `block device '${this.name}'` : 'an unnamed block device');
  }

  quiesce(): void {
    this.#quiesced++;
  }

  resume(): void {
    invariant(this.#quiesced > 0, 'resume without quiesce');
    if (--this.#quiesced > 0) return;
    this.#queue.wakeAll();
  }

  sizeChanged(): void {
    this.#options.onSizeChanged?.();
  }

  whenIdle(): Maybe<void> {
    if (this.#inFlight === 0) return;
    return this.#idle.wait();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

function noMedium(): BlockError {
  return new BlockError('No medium found', { code: 'ENOMEDIUM' });
}

/** What a command-line reader asks and shares: protection comes from the formats' own edges, as with the peer's tools. */
export const readerPerms: PermRequest = { perm: perm.consistentRead, shared: perm.all };
/** A reader that nobody may write beside: a copy is made of what is there. */
export const soleReaderPerms: PermRequest = { perm: perm.consistentRead, shared: perm.consistentRead | perm.writeUnchanged };
export const writerPerms: PermRequest = { perm: perm.consistentRead | perm.write, shared: perm.all };
/** A writer that may change the size. */
export const resizerPerms: PermRequest = { perm: perm.consistentRead | perm.write | perm.resize, shared: perm.all };
/** A user that looks at metadata only (`info`). */
export const noIoPerms: PermRequest = { perm: perm.none, shared: perm.all };
