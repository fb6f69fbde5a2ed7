/*
 * Opener: options and filenames to subtrees that are open and unpublished, or to nodes where the caller holds the graph
 * turn. Knows what is being opened, so that all of it can be given up.
 * Must not know any format: drivers are found by name or by probing.
 */
import type { BlockError } from '../util/errors.ts';
import { Gate } from './gate.ts';
import type { BlockNode } from './node.ts';
import { openNodeIn } from './open-node.ts';
import type { OpenContext, Opening } from './opening.ts';
import { type FilenameContext, mergeOptions, type OptionTree, optionsOfFilename, protocolOptions } from './options.ts';
import { topInherited } from './settings.ts';
import { runTransaction } from './transaction.ts';
import { givenUp, Subtree, type Unpublished } from './unpublished.ts';

/** An image by name, as command-line tools open it. */
export interface ImageName {
  readonly filename: string;
  /** Probed when undefined. */
  readonly format?: string | undefined;
  /** The protocol node of the filename and no format over it. */
  readonly isProtocol?: boolean;
  /** Further options of the top node (`--image-opts`), merged over. */
  readonly options?: OptionTree;
  /** Metadata only (`info`): no consistent data is asked for, no lock for it taken. */
  readonly noIo?: boolean;
  /** To be checked and repaired (`check`): a format opens what it refuses to other writers. */
  readonly toCheck?: boolean;
}

export type OpenHow = Pick<ImageName, 'noIo' | 'toCheck'>;

/** What is not published yet. Given up, it rejects at once, and takes itself down when what it waits for has come. */
interface Underway {
  readonly subtree: Subtree;
  reject(error: BlockError): void;
  /** Set once all of it is open. */
  top?: BlockNode;
}

export class Opener {
  readonly #context: OpenContext;
  readonly #names: FilenameContext;
  readonly #gate: Gate;
  readonly #underway = new Set<Underway>();
  #isClosed = false;

  constructor(context: OpenContext) {
    this.#context = context;
    this.#names = {
      driver: (name) => context.registry.entry(name),
      isDevice: (path) => context.openStorage.isDevice?.(path) ?? false,
      isDiscDrive: (path) => context.openStorage.isDiscDrive?.(path) ?? false,
    };
    this.#gate = new Gate(this.#names, context.policy);
  }

  /**
   * Opens a subtree from `options` (`driver`, `node-name`, children by key …) that nobody sees until it is published.
   * Called outside the graph turn, and never inside a request: what it uses of the published graph it attaches in turns of
   * its own. Any failure closes and detaches what was made; the graph, the files and the locks are then as before.
   */
  openApart(options: OptionTree, how: OpenHow = {}): Promise<Unpublished> {
    return this.#start(options, how, false);
  }

  /** As `openApart`, for the image at a filename: any filename form, given or probed format. */
  async openImageApart(name: ImageName): Promise<Unpublished> {
    return this.#start(this.#imageOptions(name), name, false);
  }

  /**
   * Opens and publishes a node for a caller that holds the graph turn or is alone. The node has no parent yet: give it one,
   * or set `monitorOwned`, in the same turn of the event loop, else `graph.releaseUnused` takes it down.
   */
  async openNode(options: OptionTree, how: OpenHow = {}): Promise<BlockNode> {
    const opened = await this.#start(options, how, true);
    try {
      runTransaction((transaction) => opened.publish(transaction));
    } catch (error) {
      await opened.close().catch(() => {});
      throw error;
    }
    return opened.top;
  }

  /** As `openNode`, for the image at a filename. */
  async openImage(name: ImageName): Promise<BlockNode> {
    return this.openNode(this.#imageOptions(name), name);
  }

  /** How many subtrees wait for a medium, a driver or the graph turn; after `close` those whose medium has not answered yet. */
  get waiting(): number {
    return [...this.#underway].filter((entry) => entry.top === undefined).length;
  }

  /**
   * Ends opening for good. What is still being opened rejects now, holds nothing of the published graph any more, and is
   * closed when it comes; what is open and unpublished is closed before this settles.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    const entries = [...this.#underway];
    for (const { subtree, reject } of entries) {
      subtree.giveUp();
      reject(givenUp());
    }
    for (const entry of entries) {
      if (entry.top === undefined) continue;
      this.#underway.delete(entry);
      await this.#context.graph.releaseUnused(entry.top);
    }
  }

  async #start(options: OptionTree, how: OpenHow, holdsTurn: boolean): Promise<Unpublished> {
    if (this.#isClosed) throw givenUp();
    const { graph } = this.#context;
    const subtree = new Subtree(graph, holdsTurn);
    const opening: Opening = {
      context: this.#context,
      names: this.#names,
      gate: this.#gate,
      subtree,
      open: (tree, inherited, role) => openNodeIn(opening, tree, inherited, role),
    };
    const inherited = { ...topInherited, noIo: how.noIo ?? false, toCheck: how.toCheck ?? false };
    return new Promise((resolve, reject) => {
      const entry: Underway = { subtree, reject };
      this.#underway.add(entry);
      opening.open(options, inherited, 'format').then(
        (top) => {
          entry.top = top;
          resolve(this.#unpublished(entry, top));
        },
        (error: unknown) => {
          this.#underway.delete(entry);
          reject(error);
        },
      );
    });
  }

  #unpublished(entry: Underway, top: BlockNode): Unpublished {
    return {
      top,
      publish: (transaction) => {
        entry.subtree.publish(transaction);
        transaction.add({ commit: () => this.#underway.delete(entry) });
      },
      close: async () => {
        this.#underway.delete(entry);
        await this.#context.graph.releaseUnused(top);
      },
    };
  }

  #imageOptions(name: ImageName): OptionTree {
    const { filename, format, options = {} } = name;
    if (format !== undefined && !filename.startsWith('json:') && this.#names.driver(format)?.kind === 'protocol') {
      return { ...protocolOptions(format, filename, this.#names), ...options };
    }
    const { tree, isJson } = optionsOfFilename(filename, this.#names);
    const driver: OptionTree = format === undefined ? {} : { driver: format };
    if (isJson) return mergeOptions({ ...tree, ...driver }, options);
    if (name.isProtocol === true) return { ...tree, ...options };
    return { ...options, file: tree, ...driver };
  }
}
