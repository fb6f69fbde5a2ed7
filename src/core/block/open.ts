/*
 * Options to nodes: opens a node with its children bottom-up, its backing chain, and publishes it. Any failure closes and
 * detaches what was made, in reverse; the graph, the files and the locks are then as before.
 * Must not know any format: drivers are found by name or by probing.
 */

import type { ObjectSource } from '../objects/object.ts';
import type { OpenStorage } from '../storage/storage.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import { BlockBackend, noIoPerms } from './backend.ts';
import type { Child } from './child.ts';
import { type BlockDriver, type ChildRoles, childRole, type DriverState, type NodeHost } from './driver.ts';
import { exactFilename, nodeFilename } from './filename.ts';
import type { Graph } from './graph.ts';
import { readNode } from './io.ts';
import { BlockNode, type NodeSettings } from './node.ts';
import { combineFilename, type FilenameContext, OptionReader, type OptionTree, type OptionValue, optionsOfFilename } from './options.ts';
import { refreshPermissions } from './permissions.ts';
import { type DriverRegistry, probeLength } from './registry.ts';
import { checkSettings, type Inherited, inheritedByFile, readSettings, topInherited } from './settings.ts';
import { runTransaction } from './transaction.ts';

export interface OpenContext {
  readonly graph: Graph;
  readonly registry: DriverRegistry;
  readonly openStorage: OpenStorage;
  readonly clock: Clock;
  readonly objects: ObjectSource;
  emit(event: string, data: Readonly<Record<string, unknown>>): void;
}

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

export class Opener {
  readonly #context: OpenContext;

  readonly #names: FilenameContext;

  constructor(context: OpenContext) {
    this.#context = context;
    this.#names = {
      driver: (name) => context.registry.entry(name),
      isDevice: (path) => context.openStorage.isDevice?.(path) ?? false,
    };
  }

  /**
   * Opens a node from `options` (`driver`, `node-name`, children by key …). The node has no parent yet: give it one, or
   * set `monitorOwned`, in the same turn of the event loop, else `graph.releaseUnused` takes it down.
   */
  openNode(options: OptionTree, how: Pick<ImageName, 'noIo' | 'toCheck'> = {}): Promise<BlockNode> {
    return this.#open(options, { ...topInherited, ...how }, 'format');
  }

  /** Opens the image at a filename: any filename form, given or probed format. */
  openImage(name: ImageName): Promise<BlockNode> {
    const { tree, isJson } = optionsOfFilename(name.filename, this.#names);
    const how = { noIo: name.noIo ?? false, toCheck: name.toCheck ?? false };
    if (isJson) return this.openNode({ ...tree, ...(name.format === undefined ? {} : { driver: name.format }), ...name.options }, how);
    if (name.isProtocol === true) return this.openNode({ ...tree, ...name.options }, how);
    if (this.#isProtocol(name.format)) {
      return this.openNode({ ...tree, driver: name.format, ...name.options }, how);
    }
    const options: OptionTree = { ...name.options, file: tree };
    if (name.format !== undefined) options['driver'] = name.format;
    return this.openNode(options, how);
  }

  async #open(options: OptionTree, inherited: Inherited, role: 'format' | 'file'): Promise<BlockNode> {
    const { graph, registry } = this.#context;
    let tree = options;
    // a filename without a driver tells the protocol
    if (role === 'file' && tree['driver'] === undefined && typeof tree['filename'] === 'string') {
      const { filename, ...rest } = tree;
      tree = { ...optionsOfFilename(filename, this.#names).tree, ...rest };
    }
    const reader = new OptionReader(tree);
    if (reader.peek('backing') === '') {
      this.#context.emit('TSIMG_WARNING', { message: 'Use of "backing": "" is deprecated; use "backing": null instead' });
    }
    const givenName = reader.string('node-name');
    let driverName = reader.string('driver');
    const settings = readSettings(reader, inherited);
    let first: BlockNode | undefined;
    const isProbed = driverName === undefined;
    if (driverName === undefined) {
      if (role === 'file') throw new BlockError('Must specify either driver or file');
      first = await this.#openFileToProbe(reader, settings);
      try {
        driverName = await this.#probe(first);
      } catch (error) {
        await graph.releaseUnused(first);
        throw error;
      }
    }
    let node: BlockNode;
    let holder: BlockBackend | undefined;
    const letGo = async (): Promise<void> => {
      await holder?.remove();
      if (first !== undefined) await graph.releaseUnused(first);
    };
    try {
      const driver = await registry.load(driverName);
      // the file below is older than its user, also where the user's name turns out to be taken
      first ??= await this.#openFileFirst(driver, reader, settings);
      // having a user at all makes a filter ask for more: a conflict shows before anything else is looked at
      if (first?.driver.kind === 'filter') {
        holder = new BlockBackend(graph, noIoPerms);
        holder.insert(first);
      }
      checkSettings(settings);
      if (givenName !== undefined) graph.checkName(givenName);
      node = new BlockNode(givenName ?? graph.implicitName(), driver, settings);
      node.implicit = givenName === undefined;
      node.isProbed = isProbed;
      node.openOptions = options;
      graph.publish(node);
    } catch (error) {
      await letGo();
      throw error;
    }
    try {
      await this.#openDriver(node, reader, first);
      await holder?.remove();
      await this.#openBacking(node, reader, inherited);
      const left = reader.remaining()[0];
      if (left !== undefined) {
        const kind = node.driver.kind === 'protocol' ? 'protocol' : 'format';
        throw new BlockError(`Block ${kind} '${driverName}' ${kind === 'protocol' ? "doesn't" : 'does not'} support the option '${left}'`);
      }
      runTransaction((transaction) => refreshPermissions([node], transaction));
      return node;
    } catch (error) {
      await graph.releaseUnused(node).catch(() => {});
      await letGo().catch(() => {});
      throw error;
    }
  }

  async #openDriver(node: BlockNode, reader: OptionReader, first: BlockNode | undefined): Promise<void> {
    let waiting = first;
    const host: NodeHost = {
      node,
      options: reader,
      openStorage: this.#context.openStorage,
      clock: this.#context.clock,
      objects: this.#context.objects,
      emit: (event, data) => this.#context.emit(event, data),
      attachChild: (key, child, roles) => this.#attach(key, roles, node, child),
      ...(node.isProbed ? { looksLikeAnother: (head: Uint8Array) => this.#context.registry.probe(head, '') !== node.driver.name } : {}),
      findNode: (name) => this.#context.graph.findDeviceOrNode(name),
      openChild: async (key, roles, how = {}) => {
        if (waiting !== undefined && key === 'file') {
          const child = this.#attach(key, roles, node, waiting);
          waiting = undefined;
          return child;
        }
        const recorded = how.recorded === undefined || reader.has(key) ? undefined : this.#dataFromImage(how.recorded);
        return this.#openChild(node, reader, key, roles, how.optional ?? false, how.child ?? 'file', recorded);
      },
    };
    const state: DriverState = await node.driver.open(host);
    node.setState(state);
  }

  #attach(key: string, roles: ChildRoles, parent: BlockNode, child: BlockNode): Child {
    return runTransaction((transaction) => this.#context.graph.attach(key, roles, parent, child, transaction));
  }

  async #openChild(
    node: BlockNode,
    reader: OptionReader,
    key: string,
    roles: ChildRoles,
    optional: boolean,
    kind: 'file' | 'format',
    recorded?: OptionTree,
  ): Promise<Child | undefined> {
    const { graph } = this.#context;
    const value = reader.take(key) ?? recorded;
    if (value === undefined || value === null) {
      if (optional) return undefined;
      throw new BlockError(`A block device must be specified for "${key}"`);
    }
    let child: BlockNode;
    if (typeof value === 'string') child = this.#find(value, node);
    else
      child = await this.#open(asTree(value), inheritedByFile(node.settings, roles), (roles & childRole.filtered) !== 0 && kind === 'format' ? 'format' : kind);
    try {
      return this.#attach(key, roles, node, child);
    } catch (error) {
      await graph.releaseUnused(child);
      throw error;
    }
  }

  /** The node of that name for a user, which is `parent` when it is there already. */
  #find(reference: string, parent?: BlockNode): BlockNode {
    const found = this.#context.graph.findDeviceOrNode(reference);
    if (found === undefined) throw new BlockError(`Cannot find device='${reference}' nor node-name='${reference}'`);
    if (!found.isOpen && found !== parent) throw new BlockError(`Making '${reference}' a child of what is opened below it would create a cycle`);
    return found;
  }

  async #openFileToProbe(reader: OptionReader, settings: NodeSettings): Promise<BlockNode> {
    const file = reader.take('file');
    if (file === undefined || file === null) throw new BlockError('Must specify either driver or file');
    if (typeof file === 'string') return this.#find(file);
    return this.#open(asTree(file), inheritedByFile(settings, childRole.metadata), 'file');
  }

  /** The node for option `file` of a format or filter; it has no parent yet. */
  async #openFileFirst(driver: BlockDriver, reader: OptionReader, settings: NodeSettings): Promise<BlockNode | undefined> {
    const file = reader.peek('file');
    if (driver.kind === 'protocol' || file === undefined || file === null) return undefined;
    reader.take('file');
    if (typeof file === 'string') return this.#find(file);
    const passesThrough = driver.kind === 'filter' || driver.isFilterLike === true;
    return this.#open(
      asTree(file),
      inheritedByFile(settings, passesThrough ? childRole.filtered : childRole.metadata),
      driver.kind === 'filter' ? 'format' : 'file',
    );
  }

  async #probe(file: BlockNode): Promise<string> {
    const head = new Uint8Array(Math.min(probeLength, file.size()));
    await readNode(file, 0, head, 0);
    return this.#context.registry.probe(head, nodeFilename(file));
  }

  async #openBacking(node: BlockNode, reader: OptionReader, inherited: Inherited): Promise<void> {
    if (!node.driver.supportsBacking || node.settings.noIo) {
      // nothing is opened here, yet "no backing" may be said of every node
      const none = reader.peek('backing');
      if (none !== null && none !== '') return;
      reader.take('backing');
      return;
    }
    const option: OptionValue = reader.take('backing');
    const recorded = node.state.imageBacking;
    if (option === null || option === '') {
      node.isBackingOverridden = recorded !== undefined;
      return;
    }
    const below = await this.#backingNode(node, option, inherited);
    if (below === undefined) return;
    try {
      // named by the user: shown in the node's name unless the image records the same
      if (below.isGiven) node.isBackingOverridden = recorded?.filename !== nodeFilename(below.node);
      this.#attach('backing', childRole.cow, node, below.node);
    } catch (error) {
      if (typeof option !== 'string') await this.#context.graph.releaseUnused(below.node);
      throw error;
    }
  }

  /** The backing file of `node` as option `backing` and the image have it; undefined without. */
  async #backingNode(node: BlockNode, option: OptionValue, inherited: Inherited): Promise<{ readonly node: BlockNode; readonly isGiven: boolean } | undefined> {
    const recorded = node.state.imageBacking;
    try {
      if (typeof option === 'string') return { node: this.#find(option), isGiven: true };
      const given = asTree(option);
      let tree: OptionTree;
      let isGiven = false;
      let overlays: readonly string[] = [];
      if (recorded !== undefined && !('filename' in asTree(given['file']))) {
        tree = this.#withRecorded(node, recorded, given);
        overlays = withOverlay(inherited.overlays, node, recorded.filename);
        isGiven = option !== undefined;
      } else {
        if (option === undefined) return undefined;
        tree = given;
        isGiven = true;
      }
      const below = await this.#open(
        tree,
        {
          ...inherited,
          overlays,
          readOnly: true,
          autoReadOnly: false,
          forceShare: node.settings.forceShare,
          noIo: node.settings.noIo,
          direct: node.settings.cache.direct,
          noFlush: node.settings.cache.noFlush,
          discard: true,
        },
        'format',
      );
      return { node: below, isGiven };
    } catch (error) {
      if (error instanceof BlockError) throw error.prepend('Could not open backing file: ');
      throw error;
    }
  }

  /** Options for the backing file of `node` that go along with the name and format recorded in its image. */
  #withRecorded(node: BlockNode, recorded: { filename: string; format: string | undefined }, given: OptionTree): OptionTree {
    const found = this.#backingFromImage(node, recorded);
    if (recorded.filename.startsWith('json:')) return { ...found, ...given };
    const file = asTree(found['file'] ?? found);
    // the name goes down to the first protocol
    const named = (tree: OptionTree, isTop: boolean): OptionTree => {
      const driver = tree['driver'];
      if (driver === undefined ? !isTop : this.#isProtocol(driver)) {
        if ('filename' in tree) throw new BlockError("Can't specify 'file' and 'filename' options at the same time");
        const parse = this.#context.registry.entry(String(driver))?.parseFilename;
        return { ...(parse?.(String(file['filename'])) ?? file), ...tree };
      }
      if (typeof tree['file'] === 'string') throw new BlockError('Cannot reference an existing block device with additional options or a new filename');
      return { ...tree, file: named(asTree(tree['file']), false) };
    };
    return named({ ...('driver' in found ? { driver: found['driver'] } : {}), ...given }, true);
  }

  /** A data file is named as seen from where the program runs, unlike a backing file. */
  #dataFromImage(recorded: string): OptionTree {
    return optionsOfFilename(recorded, this.#names).tree;
  }

  #isProtocol(driver: OptionValue): boolean {
    return typeof driver === 'string' && this.#context.registry.entry(driver)?.kind === 'protocol';
  }

  #backingFromImage(node: BlockNode, recorded: { filename: string; format: string | undefined }): OptionTree {
    const full = combineFilename(exactFilename(node.primary?.node ?? node) ?? '', recorded.filename);
    const named = optionsOfFilename(full, this.#names);
    if (named.isJson) return named.tree;
    if (this.#isProtocol(recorded.format)) return named.tree;
    return recorded.format === undefined ? { file: named.tree } : { driver: recorded.format, file: named.tree };
  }
}

/** The overlays above the backing file of `node`. Throws when that is one of them. */
function withOverlay(overlays: readonly string[] = [], node: BlockNode, backing: string): readonly string[] {
  const name = exactFilename(node) ?? '';
  const all = [...overlays, name];
  if (all.includes(combineFilename(name, backing))) throw new BlockError(`Backing file '${backing}' creates an infinite loop.`);
  return all;
}

function asTree(value: OptionValue): OptionTree {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as OptionTree) : {};
}
