/*
 * A subtree while it opens, and until it is published: its nodes are in no look-up, query or drain, and it holds nobody
 * up. What it uses of the published graph is attached in short graph turns. It is published whole, or taken down whole.
 * Must not know how a node is opened.
 */
import { BlockError } from '../util/errors.ts';
import type { Child } from './child.ts';
import type { ChildRoles } from './driver.ts';
import { duplicateName, type Graph } from './graph.ts';
import type { BlockNode } from './node.ts';
import { runTransaction, type Transaction } from './transaction.ts';

/** An open subtree that only its opener knows. */
export interface Unpublished {
  readonly top: BlockNode;
  /**
   * Publishes all of it as part of `transaction`; abort hides it again. Called in the graph turn. Throws QEMU's words for
   * a name that was taken meanwhile. Once committed the graph owns it: `top` gets a parent or an owner at once, else
   * `close` takes it down.
   */
  publish(transaction: Transaction): void;
  /** Takes down what has no user, published or not. A flush error is thrown after all is closed. */
  close(): Promise<void>;
}

export class Subtree {
  readonly #graph: Graph;
  readonly #holdsTurn: boolean;
  /** In the order in which they were made: also the order in which they are published. */
  readonly #nodes: BlockNode[] = [];
  #isGivenUp = false;
  /** Nodes whose opening was begun: each waits for those below it before it is made. */
  begun = 0;

  /** `holdsTurn`: the caller holds the graph turn all the while. */
  constructor(graph: Graph, holdsTurn: boolean) {
    this.#graph = graph;
    this.#holdsTurn = holdsTurn;
  }

  add(node: BlockNode): void {
    this.#nodes.push(node);
    this.#graph.addApart(node);
  }

  /** The node, or the root of the block device, with this name: of the subtree itself, else of the published graph. */
  find(name: string): BlockNode | undefined {
    return this.#own(name) ?? this.#graph.findDeviceOrNode(name);
  }

  /** Checks a name that the user gives, against the subtree and the graph as it is now. Throws QEMU's messages. */
  checkName(name: string): void {
    this.#graph.checkName(name);
    if (this.#own(name) !== undefined) throw duplicateName(name);
  }

  /** Attaches `node`, of the subtree or published, as a child of `parent`. Throws when `node` was closed meanwhile. */
  attach(key: string, roles: ChildRoles, parent: BlockNode, node: BlockNode): Promise<Child> {
    return this.change(node, (transaction) => this.#graph.attach(key, roles, parent, node, transaction));
  }

  /** Runs a change that concerns `node` and what is above it: in a turn of its own when others can see `node`. */
  async change<T>(node: BlockNode, body: (transaction: Transaction) => T): Promise<T> {
    if (this.#holdsTurn || this.#graph.isApart(node)) return this.#changeNow(node, body);
    return this.#graph.turn(async () => this.#changeNow(node, body));
  }

  #changeNow<T>(node: BlockNode, body: (transaction: Transaction) => T): T {
    this.checkGoing();
    if (!this.#graph.has(node)) throw notFound(node.name);
    return runTransaction(body);
  }

  /** Runs a change of permissions below the subtree: in a turn of its own when any of its edges leads to the published graph. */
  async settle(body: (transaction: Transaction) => void): Promise<void> {
    this.checkGoing();
    if (this.#holdsTurn || this.#edgesOut().length === 0) return runTransaction(body);
    await this.#graph.turn(async () => {
      this.checkGoing();
      runTransaction(body);
    });
  }

  publish(transaction: Transaction): void {
    this.checkGoing();
    for (const node of this.#nodes) {
      if (!this.#graph.isApart(node)) continue;
      if (!node.implicit) this.#graph.checkName(node.name);
      this.#graph.publish(node, transaction);
    }
  }

  // -- giving up ------------------------------------------------------------------------------------------------------
  get isGivenUp(): boolean {
    return this.#isGivenUp;
  }

  /** Throws when nobody wants the subtree any more: whoever opens it takes down what there is by then. */
  checkGoing(): void {
    if (this.#isGivenUp) throw givenUp();
  }

  /** Lets the published graph go at once, whatever the subtree still waits for. */
  giveUp(): void {
    this.#isGivenUp = true;
    for (const child of this.#edgesOut()) {
      runTransaction((transaction) => this.#graph.detach(child, transaction));
      this.#graph.expectStrays(child.node);
    }
  }

  #edgesOut(): Child[] {
    return this.#nodes.filter((node) => this.#graph.isApart(node)).flatMap((node) => node.children.filter((child) => !this.#graph.isApart(child.node)));
  }

  #own(name: string): BlockNode | undefined {
    return this.#nodes.find((node) => node.name === name && this.#graph.isApart(node));
  }
}

export function notFound(name: string): BlockError {
  return new BlockError(`Cannot find device='${name}' nor node-name='${name}'`, { code: 'ENOENT' });
}

export function givenUp(): BlockError {
  return new BlockError('Opening was given up', { code: 'ECANCELED' });
}
