/*
 * Graph: the named nodes and every change of an edge. A change is tried inside a Transaction: edges and permissions are
 * set, checked over the subgraph, and put back by abort. Changes run one at a time under the graph turn; between prepare
 * and commit there is no yield.
 */
import { BlockError, invariant } from '../util/errors.ts';
import { isIdentifier } from '../util/identifier.ts';
import { isPending } from '../util/maybe.ts';
import { Mutex } from '../util/mutex.ts';
import { type PermBits, perm } from '../util/perm-bits.ts';
import { checkMayMove, checkNotFrozen, isReachable } from './chain.ts';
import { Child, type Parent } from './child.ts';

import { type ChildRoles, childRole } from './driver.ts';
import { nodeFilename } from './filename.ts';
import { flushNode } from './io.ts';
import type { BlockNode } from './node.ts';
import { type BlockOp, blockOps } from './op-blockers.ts';
import { childPerm, refreshPermissions, setEdge } from './permissions.ts';
import { runTransaction, type Transaction } from './transaction.ts';

/** What stays allowed on a node that is somebody's backing. */
const backingAllows: readonly BlockOp[] = ['commit-target', 'stream', 'backup-source', 'backup-target'];

const maxNodeName = 31;

export class Graph {
  /** There is, or was, a node whose medium may be taken out: else nobody need look. */
  hasRemovable = false;
  readonly #nodes = new Map<string, BlockNode>();
  readonly #apart = new Set<BlockNode>();
  readonly #strays = new WeakSet<BlockNode>();
  readonly #turn = new Mutex();
  #users = 0;
  readonly #backingBlockers = new Map<Child, Disposable>();
  #nextImplicit = 100;
  /** Names of block devices (backends) share the name space of nodes; set by whoever owns them. */
  isDeviceName: (name: string) => boolean = () => false;
  /** The root node of a block device; set along with isDeviceName. */
  deviceNode: (name: string) => BlockNode | undefined = () => undefined;
  /** Nodes of each section that drains everything: what is published meanwhile joins them. See drain.ts. */
  readonly drainedSections: Set<Set<BlockNode>> = new Set<Set<BlockNode>>();

  // -- names --------------------------------------------------------------------------------------------------------
  /** All published nodes, oldest first. */
  get nodes(): Iterable<BlockNode> {
    return this.#nodes.values();
  }

  find(name: string): BlockNode | undefined {
    return this.#nodes.get(name);
  }

  /** The node with this name, or the root node of the block device with this name. */
  findDeviceOrNode(name: string): BlockNode | undefined {
    return this.deviceNode(name) ?? this.#nodes.get(name);
  }

  /** A name for a node that the user did not name: `#blockNNN`. */
  implicitName(): string {
    let name: string;
    do {
      // steps look random as QEMU's do, so that nobody comes to rely on them
      this.#nextImplicit += 1 + ((this.#nextImplicit * 7) % 13);
      name = `#block${this.#nextImplicit}`;
    } while (this.#nodes.has(name));
    return name;
  }

  /** Checks a user's node name: form, length, uniqueness among nodes and devices. Throws QEMU's messages. */
  checkName(name: string): void {
    if (!isIdentifier(name)) throw new BlockError(`Invalid node-name: '${name}'`, { code: 'ERR_NAME' });
    if (name.length > maxNodeName) throw new BlockError('Node name too long', { code: 'ERR_NAME' });
    if (this.isDeviceName(name)) throw new BlockError(`node-name=${name} is conflicting with a device id`, { code: 'ERR_NAME' });
    if (this.#nodes.has(name)) throw duplicateName(name);
  }

  /** A number for a user of the graph, larger than those before. */
  countUser(): number {
    return ++this.#users;
  }

  // -- life of a node -----------------------------------------------------------------------------------------------
  /** Takes in a node that only its opener knows: in no look-up and no query until it is published. */
  addApart(node: BlockNode): void {
    this.#apart.add(node);
    if (node.driver.isRemovable === true) this.hasRemovable = true;
  }

  /** Forgets a node that was never published and holds nothing that needs closing. */
  dropApart(node: BlockNode): void {
    this.#apart.delete(node);
    node.setState(undefined);
  }

  isApart(node: BlockNode): boolean {
    return this.#apart.has(node);
  }

  /** Published or apart, and not closed. */
  has(node: BlockNode): boolean {
    return this.#nodes.get(node.name) === node || this.#apart.has(node);
  }

  /** Makes a node that was apart known by its name, which is free. */
  publish(node: BlockNode, transaction: Transaction): void {
    invariant(this.#apart.has(node) && !this.#nodes.has(node.name), `node ${node.name} is apart and its name is free`);
    this.#apart.delete(node);
    this.#nodes.set(node.name, node);
    for (const section of this.drainedSections) {
      section.add(node);
      node.quiesce();
    }
    transaction.add({
      abort: () => {
        for (const section of this.drainedSections) if (section.delete(node)) node.resume();
        this.#nodes.delete(node.name);
        this.#apart.add(node);
      },
    });
  }

  hasStrays(node: BlockNode): boolean {
    return this.#strays.has(node);
  }

  /** Requests of an opener that was given up may be on `node` for ever: its close does not hold up whoever asks for it. */
  expectStrays(node: BlockNode): void {
    this.#strays.add(node);
    for (const child of node.children) this.expectStrays(child.node);
  }

  // -- the graph turn -----------------------------------------------------------------------------------------------
  /** Runs `body` alone among graph changes. Nobody waits for a job or a client inside. */
  async turn<T>(body: () => Promise<T>): Promise<T> {
    await this.#turn.lock();
    try {
      return await body();
    } finally {
      this.#turn.unlock();
    }
  }

  // -- edges --------------------------------------------------------------------------------------------------------
  /**
   * Attaches `node` to `parent` with explicit permissions (backends, jobs) or, for a parent node that is open, with
   * those its driver computes. Part of `transaction`; throws on a permission conflict or a cycle.
   */
  attach(name: string, roles: ChildRoles, parent: Parent, node: BlockNode, transaction: Transaction, perms?: { perm: PermBits; shared: PermBits }): Child {
    const above = parent.asNode;
    if (above !== undefined && isReachable(node, above)) {
      throw new BlockError(`Making '${node.name}' a ${name} child of '${above.name}' would create a cycle`, { code: 'ERR_IN_USE' });
    }
    const child = new Child(name, roles, parent, node, perms?.perm ?? perm.none, perms?.shared ?? perm.all);
    if (above !== undefined && !above.isOpen && perms === undefined) {
      // while the parent opens: locks are there before the first read
      const first = childPerm(above, child, { perm: perm.none, shared: perm.all });
      child.perm = first.perm;
      child.shared = first.shared;
    }
    node.parents.unshift(child);
    above?.children.push(child);
    child.followQuiesce();
    transaction.add({
      abort: () => {
        remove(node.parents, child);
        if (above !== undefined) remove(above.children, child);
        child.followQuiesce();
      },
    });
    if ((roles & childRole.cow) !== 0 && above !== undefined) this.#blockBacking(child, above, transaction);
    refreshPermissions([above?.isOpen ? above : node], transaction);
    return child;
  }

  /** Takes an edge away. The node stays; see `releaseUnused`. Part of `transaction`. */
  detach(child: Child, transaction: Transaction): void {
    const { node } = child;
    const above = child.parent.asNode;
    const parentIndex = node.parents.indexOf(child);
    const childIndex = above?.children.indexOf(child) ?? -1;
    if (parentIndex < 0) return;
    checkNotFrozen(child);
    node.parents.splice(parentIndex, 1);
    if (childIndex >= 0) above?.children.splice(childIndex, 1);
    child.followQuiesce();
    transaction.add({
      commit: () => this.#unblockBacking(child),
      abort: () => {
        node.parents.splice(parentIndex, 0, child);
        if (childIndex >= 0) above?.children.splice(childIndex, 0, child);
        child.followQuiesce();
      },
    });
    refreshPermissions(above?.isOpen && above.parents.length > 0 ? [above, node] : [node], transaction);
  }

  /** Sets what a parent that is no node needs and shares on its edge. */
  setPerm(child: Child, needed: PermBits, shared: PermBits, transaction: Transaction): void {
    setEdge(child, needed, shared, transaction);
    refreshPermissions([child.node], transaction);
  }

  /** Lets `child` point to `to` without checking; the caller refreshes. */
  #repoint(child: Child, to: BlockNode, transaction: Transaction): void {
    const from = child.node;
    const index = from.parents.indexOf(child);
    from.parents.splice(index, 1);
    child.node = to;
    to.parents.unshift(child);
    child.followQuiesce();
    const above = child.parent.asNode;
    const place = above?.children.indexOf(child) ?? -1;
    // an edge that moves is the newest of its parent's, as in QEMU's lists
    if (above !== undefined) above.children.push(...above.children.splice(place, 1));
    if ((child.roles & childRole.cow) !== 0 && above !== undefined) this.#blockBacking(child, above, transaction);
    transaction.add({
      abort: () => {
        remove(to.parents, child);
        child.node = from;
        from.parents.splice(index, 0, child);
        child.followQuiesce();
        if (above !== undefined) {
          remove(above.children, child);
          above.children.splice(place, 0, child);
        }
      },
    });
  }

  /** Points one edge at another node (qom-set drive=…). The parent must be drained. */
  replaceChild(child: Child, to: BlockNode, transaction: Transaction): void {
    const from = child.node;
    if (from === to) return;
    checkNotFrozen(child);
    const above = child.parent.asNode;
    if (above !== undefined && isReachable(to, above))
      throw new BlockError(`Making '${to.name}' a ${child.name} child of '${above.name}' would create a cycle`, { code: 'ERR_IN_USE' });
    this.#repoint(child, to, transaction);
    refreshPermissions([from, to], transaction);
  }

  /**
   * Moves parents of `from` over to `to` (a filter above it, another image). Without `edges`: every parent that may move;
   * edges of `to` itself, edges that stay at their node, and edges whose move would make a cycle stay. With `edges`: these,
   * all of which must be able to move. Throws QEMU's words for one that may not.
   */
  replaceNode(from: BlockNode, to: BlockNode, transaction: Transaction, edges?: readonly Child[]): void {
    if (from === to) return;
    for (const child of edges ?? [...from.parents].reverse()) {
      const above = child.parent.asNode;
      const stays = child.node !== from || child.parent === to || child.parent.stayAtNode === true || (above !== undefined && isReachable(to, above));
      if (stays) {
        if (edges === undefined) continue;
        throw new BlockError(`Should not change '${child.name}' link to '${from.name}'`, { code: 'EINVAL' });
      }
      checkMayMove(child);
      this.#repoint(child, to, transaction);
    }
    refreshPermissions([to, from], transaction);
  }

  /**
   * Gives `node` another backing node, or none; its old one stays open while it has other users. The parents of `node` are
   * drained. Says nothing in the image itself: that is the driver's `writeBacking`.
   */
  setBacking(node: BlockNode, below: BlockNode | null, transaction: Transaction): void {
    const old = node.backing;
    if (old?.node === (below ?? undefined)) return;
    if (old !== undefined) checkNotFrozen(old);
    if (node.driver.supportsBacking !== true) {
      throw new BlockError(`Driver '${node.driver.name}' of node '${node.name}' does not support backing files`, { code: 'EINVAL' });
    }
    if (old !== undefined) this.detach(old, transaction);
    if (below !== null) this.attach('backing', childRole.cow, node, below, transaction);
    const wasOverridden = node.isBackingOverridden;
    const recorded = node.isOpen ? node.state.imageBacking?.filename : undefined;
    node.isBackingOverridden = recorded !== (below === null ? undefined : nodeFilename(below));
    transaction.add({ abort: () => (node.isBackingOverridden = wasOverridden) });
  }

  /** Guards the node below a backing link; the guard of the node that it led to before ends with the commit. */
  #blockBacking(child: Child, above: BlockNode, transaction: Transaction): void {
    const before = this.#backingBlockers.get(child);
    const others = allOpsExcept(backingAllows);
    const guard = child.node.blockers.block(others, `node is used as backing hd of '${above.displayName}'`, `node '${above.name}'`);
    this.#backingBlockers.set(child, guard);
    transaction.add({
      commit: () => before?.[Symbol.dispose](),
      abort: () => {
        guard[Symbol.dispose]();
        if (before === undefined) this.#backingBlockers.delete(child);
        else this.#backingBlockers.set(child, before);
      },
    });
  }

  #unblockBacking(child: Child): void {
    this.#backingBlockers.get(child)?.[Symbol.dispose]();
    this.#backingBlockers.delete(child);
  }

  // -- end of a node ------------------------------------------------------------------------------------------------
  /** Closes `node`, and what only it used, when nobody uses it any more. Flushes first; a flush error is thrown after all is closed. */
  async releaseUnused(node: BlockNode): Promise<void> {
    if (node.monitorOwned || node.parents.length > 0 || !this.has(node)) return;
    if (!this.#apart.delete(node)) this.#nodes.delete(node.name);
    const idle = node.whenIdle();
    if (isPending(idle)) {
      // a medium that is closed under a request in flight would do it on whatever gets its descriptor next
      if (this.#strays.has(node)) return void idle.then(() => this.#finish(node)).catch(() => {});
      await idle;
    }
    await this.#finish(node);
  }

  async #finish(node: BlockNode): Promise<void> {
    let failure: unknown;
    const state = node.isOpen ? node.state : undefined;
    try {
      if (state !== undefined && node.isDirty) await flushNode(node);
    } catch (error) {
      failure = error;
    }
    try {
      await state?.close();
    } catch (error) {
      failure ??= error;
    }
    const children = [...node.children];
    runTransaction((transaction) => {
      // nobody is left who could mean the links of a node without users
      for (const child of children) child.frozenBy = undefined;
      for (const child of children) this.detach(child, transaction);
    });
    node.setState(undefined);
    for (const child of children) {
      try {
        await this.releaseUnused(child.node);
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }
}

/** Two nodes cannot have one name. */
export function duplicateName(name: string): BlockError {
  return new BlockError(`Duplicate nodes with node-name='${name}'`, { code: 'EEXIST' });
}

function allOpsExcept(allowed: readonly BlockOp[]): BlockOp[] {
  return blockOps.filter((op) => !allowed.includes(op));
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
