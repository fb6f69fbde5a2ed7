/*
 * BlockNode: one opened driver instance in the graph: identity, options that the engine itself obeys, edges in both
 * directions, operation blockers, and what is in flight. Knows no format and no command.
 */
import { type BlockError, invariant } from '../util/errors.ts';
import { isPending, type Maybe } from '../util/maybe.ts';
import { RangeLock } from '../util/range-lock.ts';
import { Waiters } from '../util/waiters.ts';
import { BrokenState } from './broken.ts';
import type { Child, Parent } from './child.ts';
import { DirtyBitmaps } from './dirty-bitmap.ts';
import { type BlockDriver, childRole, type DriverState, type Limits, noLimits, reqFlag } from './driver.ts';
import { OpBlockers } from './op-blockers.ts';
import type { OptionTree } from './options.ts';

/** Options of every node (QAPI BlockdevOptions base), as they are in force. */
export interface NodeSettings {
  readonly readOnly: boolean;
  readonly autoReadOnly: boolean;
  readonly forceShare: boolean;
  /** Opened for its metadata only: asks nobody for consistent data. */
  readonly noIo: boolean;
  /** Opened to be checked: what a check can set right is no reason to refuse the image, and nothing else mends it first. */
  readonly toCheck?: boolean;
  /** A discard reaches the driver (discard=unmap); else it is dropped. */
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly cache: { readonly direct: boolean; readonly noFlush: boolean };
}

export type ChangeKind = 'write' | 'zero' | 'discard';

/** Somebody who must know of every change of a node's content: dirty bitmaps, thresholds, statistics. */
export interface ChangeObserver {
  /** The range has changed, or may have: told when the request has ended, before any that waits for the range goes on. */
  changed(kind: ChangeKind, offset: number, length: number): void;
  /** The node has another size now; told before its parents. */
  resized(size: number): void;
}

export class BlockNode implements Parent {
  readonly name: string;
  readonly driver: BlockDriver;
  /** Its driver was guessed from the image's content. */
  isProbed = false;
  /** Why it is read-only although it was to be written: what opening its medium for writing came to. */
  whyReadOnly: BlockError | undefined;
  /** The options the node was opened with, for query commands and json: filenames. */
  openOptions: OptionTree = {};
  /** The same as they were read, defaults among them, by dotted key; frozen. */
  options: Readonly<Record<string, string | number | boolean>> = {};
  /** The backing node is another than the one the image names. */
  isBackingOverridden = false;
  readonly children: Child[] = [];
  readonly parents: Child[] = [];
  readonly blockers: OpBlockers;
  /** Has a name given by the user through blockdev-add: lives until blockdev-del even without parents. */
  monitorOwned = false;
  /** Made by the engine itself (children opened by options inside others); named #blockNNN. */
  implicit = false;
  /** A filter that stands for a switch of the image: programs show what it filters. */
  isHidden = false;
  /** Requests begun and not settled. Synchronous ones never count: nobody can look meanwhile. */
  inFlight = 0;
  /** Ranges of requests in flight: shared, or exclusive for serialising ones. */
  readonly lock: RangeLock = new RangeLock();
  /** Drained sections that the node is in, its own and those of nodes below: its parents issue no requests while > 0. */
  quiesceCount = 0;
  readonly dirtyBitmaps: DirtyBitmaps;
  /** Changed by `observe` only. */
  readonly observers: ChangeObserver[] = [];
  /** A write needs more than to be passed on: one flag for the request path to look at. */
  watchesWrites = false;
  /** Something was written since the last flush of this node. */
  isDirty = false;
  /** End of the highest write so far (query-blockstats). */
  highestWrite = 0;
  #settings: NodeSettings;
  #state: DriverState | undefined;
  readonly #idle = new Waiters();

  constructor(name: string, driver: BlockDriver, settings: NodeSettings) {
    this.name = name;
    this.driver = driver;
    this.#settings = settings;
    this.#refreshWatch();
    this.dirtyBitmaps = new DirtyBitmaps(this);
    this.blockers = new OpBlockers(() => this.displayName);
  }

  get settings(): NodeSettings {
    return this.#settings;
  }

  set settings(settings: NodeSettings) {
    this.#settings = settings;
    this.#refreshWatch();
  }

  /** Tells `observer` of every change from now on, until the end is disposed of. */
  observe(observer: ChangeObserver): Disposable {
    this.observers.push(observer);
    this.#refreshWatch();
    return {
      [Symbol.dispose]: () => {
        const index = this.observers.indexOf(observer);
        if (index >= 0) this.observers.splice(index, 1);
        this.#refreshWatch();
      },
    };
  }

  #refreshWatch(): void {
    this.watchesWrites = this.observers.length > 0 || this.#settings.detectZeroes !== 'off';
  }

  /** Name of the block device that this node is the root of, if any. */
  get deviceName(): string | undefined {
    for (const edge of this.parents) if (edge.parent.backendName) return edge.parent.backendName;
    return undefined;
  }

  /** What messages call the node: the device's name if it has one, else its own. */
  get displayName(): string {
    return this.deviceName ?? this.name;
  }

  get state(): DriverState {
    if (this.#state === undefined) throw new Error(`node ${this.name} is not open`);
    return this.#state;
  }

  /** Set once by open.ts; undefined after close. */
  setState(state: DriverState | undefined): void {
    this.#state = state;
    if (this.quiesceCount > 0) state?.quiesce?.();
  }

  /** A bug left its driver in an unknown state: every request fails from now on, with one line that says why. */
  breakDown(cause: unknown): void {
    const state = this.#state;
    if (state !== undefined && !(state instanceof BrokenState)) this.#state = new BrokenState(this.name, state, cause);
  }

  get isOpen(): boolean {
    return this.#state !== undefined;
  }

  get readOnly(): boolean {
    return this.settings.readOnly;
  }

  /** Whether compressed writes are meant for it: a format that stores them, or one of the filters that hand them down. */
  get takesCompressed(): boolean {
    const { kind, isFilterLike, passesCompressed } = this.driver;
    return ((kind === 'format' && isFilterLike !== true) || passesCompressed === true) && (this.state.writeFlags & reqFlag.compressed) !== 0;
  }

  get limits(): Limits {
    return this.#state?.limits ?? noLimits;
  }

  size(): number {
    return this.state.size();
  }

  /** Whether all media below are there, as far as they can be taken out. */
  get isInserted(): boolean {
    return this.#state?.isInserted?.() ?? this.children.every((child) => child.node.isInserted);
  }

  child(name: string): Child | undefined {
    return this.children.find((child) => child.name === name);
  }

  /** The node below that supplies unallocated data (role cow). */
  get backing(): Child | undefined {
    for (const child of this.children) if ((child.roles & childRole.cow) !== 0) return child;
    return undefined;
  }

  /** The one child that a filter presents unchanged. */
  get filtered(): Child | undefined {
    for (const child of this.children) if ((child.roles & childRole.filtered) !== 0) return child;
    return undefined;
  }

  get primary(): Child | undefined {
    for (const child of this.children) if ((child.roles & childRole.primary) !== 0) return child;
    return undefined;
  }

  // -- as a parent --------------------------------------------------------------------------------------------------
  get asNode(): BlockNode {
    return this;
  }

  describe(): string {
    return `node '${this.name}'`;
  }

  /** Makes all parents stop issuing requests, up to the roots, also those that come later. Counted: one `resume` for each. */
  quiesce(): void {
    if (++this.quiesceCount > 1) return;
    for (const edge of [...this.parents]) edge.followQuiesce();
    this.#state?.quiesce?.();
  }

  resume(): void {
    invariant(this.quiesceCount > 0, 'resume without quiesce');
    if (--this.quiesceCount > 0) return;
    this.#state?.resume?.();
    for (const edge of [...this.parents]) edge.followQuiesce();
  }

  sizeChanged(): void {
    const settled = this.#state?.refreshSize?.();
    if (settled !== undefined && isPending(settled)) void settled.catch(() => {});
    for (const edge of [...this.parents]) edge.parent.sizeChanged?.();
  }

  // -- in flight ----------------------------------------------------------------------------------------------------
  /** Settles when nothing is in flight on this node. */
  whenIdle(): Maybe<void> {
    if (this.inFlight === 0) return;
    return this.#idle.wait();
  }

  /** Counts a request, or work that goes on behind one; `leave` ends it. */
  enter(): void {
    this.inFlight++;
  }

  leave(): void {
    if (--this.inFlight === 0 && !this.#idle.isEmpty) this.#idle.wakeAll();
  }
}
