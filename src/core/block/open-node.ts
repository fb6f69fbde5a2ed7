/*
 * Opens one node of a subtree: settings, probing, its file first, the driver, its backing chain, the options that nobody
 * took. Any failure closes and detaches what was made here, in reverse.
 */
import { didYouMean } from '../util/did-you-mean.ts';
import { BlockError } from '../util/errors.ts';
import { BlockBackend, noIoPerms } from './backend.ts';
import type { Child } from './child.ts';
import type { ChildRoles, ChildWish, DriverState, NodeHost } from './driver.ts';
import { nodeFilename } from './filename.ts';
import { readNode } from './io.ts';
import { BlockNode } from './node.ts';
import { checkLoop, openBacking, openChild, openFileFirst, openFileToProbe } from './open-children.ts';
import type { Opening } from './opening.ts';
import { fileOptions, OptionReader, type OptionTree } from './options.ts';
import { refreshPermissions } from './permissions.ts';
import { probeLength } from './registry.ts';
import { checkSettings, type Inherited, readSettings, settingNames } from './settings.ts';

/** The file below a node that is not made yet, kept by a user of its own where it may lose all others meanwhile. */
class FirstChild {
  readonly #opening: Opening;
  node: BlockNode | undefined;
  #holder: BlockBackend | undefined;

  constructor(opening: Opening) {
    this.#opening = opening;
  }

  /** A published node, or a filter: having a user at all makes a filter ask for more, so a conflict shows before anything else. */
  async hold(): Promise<void> {
    const { node } = this;
    const { context, subtree } = this.#opening;
    if (node === undefined || this.#holder !== undefined || (context.graph.isApart(node) && node.driver.kind !== 'filter')) return;
    const holder = new BlockBackend(context.graph, noIoPerms);
    await subtree.change(node, (transaction) => holder.insert(node, transaction));
    this.#holder = holder;
  }

  /** Ends the hold; the node has its user by now. */
  async letGo(): Promise<void> {
    await this.#holder?.remove();
    this.#holder = undefined;
  }

  /** Ends the hold and closes the node when nobody has come to use it. */
  async drop(): Promise<void> {
    await this.letGo();
    if (this.node !== undefined) await this.#opening.context.graph.releaseUnused(this.node);
  }
}

export async function openNodeIn(opening: Opening, options: OptionTree, inherited: Inherited, role: 'format' | 'file'): Promise<BlockNode> {
  const { context, subtree } = opening;
  subtree.begun++;
  const first = new FirstChild(opening);
  let node: BlockNode;
  const reader = new OptionReader(role === 'file' ? withProtocol(opening, options) : options);
  if (reader.peek('backing') === '') {
    context.emit('TSIMG_WARNING', { message: 'Use of "backing": "" is deprecated; use "backing": null instead' });
  }
  const givenName = reader.string('node-name');
  let driverName = reader.string('driver');
  const settings = readSettings(reader, inherited);
  const isProbed = driverName === undefined;
  try {
    if (driverName === undefined) {
      if (role === 'file') throw new BlockError('Must specify either driver or file', { code: 'ERR_OPTION' });
      first.node = await openFileToProbe(opening, reader, settings, inherited);
      driverName = await probe(opening, first);
    }
    const driver = await context.registry.load(driverName);
    reader.useTable(context.registry.entry(driverName)?.options.own ?? []);
    // the file below is older than its user, also where the user's name turns out to be taken
    first.node ??= await openFileFirst(opening, driver, reader, settings, inherited);
    if (first.node !== undefined) checkLoop(first.node, inherited);
    await first.hold();
    subtree.checkGoing();
    checkSettings(settings);
    if (givenName !== undefined) subtree.checkName(givenName);
    node = new BlockNode(givenName ?? context.graph.implicitName(), driver, settings);
    node.implicit = givenName === undefined;
    node.isProbed = isProbed;
    node.openOptions = options;
    subtree.add(node);
  } catch (error) {
    await first.drop().catch(() => {});
    throw error;
  }
  try {
    await openDriver(opening, node, reader, first, inherited);
    await first.letGo();
    await openBacking(opening, node, reader, inherited);
    checkNothingLeft(node, reader);
    node.options = reader.values();
    await subtree.settle((transaction) => refreshPermissions([node], transaction));
    return node;
  } catch (error) {
    await context.graph.releaseUnused(node).catch(() => {});
    await first.drop().catch(() => {});
    throw error;
  }
}

/** Without a driver the filename is that of a file or of a device. As an option it is a name, whatever it begins with. */
function withProtocol(opening: Opening, options: OptionTree): OptionTree {
  const { driver, filename } = options;
  return driver === undefined && typeof filename === 'string' ? { ...options, ...fileOptions(filename, opening.names) } : options;
}

async function probe(opening: Opening, first: FirstChild): Promise<string> {
  await first.hold();
  const file = first.node;
  if (file === undefined) throw new BlockError('Must specify either driver or file', { code: 'ERR_OPTION' });
  const head = new Uint8Array(Math.min(probeLength, file.size()));
  await readNode(file, 0, head, 0);
  return opening.context.registry.probe(head, nodeFilename(file));
}

async function openDriver(opening: Opening, node: BlockNode, reader: OptionReader, first: FirstChild, inherited: Inherited): Promise<void> {
  const { context, subtree } = opening;
  let waiting = first.node;
  function childOf(key: string, roles: ChildRoles, how?: ChildWish & { readonly optional?: false }): Promise<Child>;
  function childOf(key: string, roles: ChildRoles, how: ChildWish): Promise<Child | undefined>;
  async function childOf(key: string, roles: ChildRoles, how: ChildWish = {}): Promise<Child | undefined> {
    if (waiting === undefined || key !== 'file') return openChild(opening, node, reader, inherited, { key, roles, ...how });
    const below = waiting;
    waiting = undefined;
    const child = await subtree.attach(key, roles, node, below);
    await first.letGo();
    return child;
  }
  const host: NodeHost = {
    node,
    options: reader,
    openStorage: context.openStorage,
    clock: context.clock,
    objects: context.objects,
    emit: (event, data) => context.emit(event, data),
    ...(node.isProbed ? { looksLikeAnother: (head: Uint8Array) => context.registry.probe(head, '') !== node.driver.name } : {}),
    findNode: (name) => subtree.find(name),
    openChild: childOf,
  };
  const state: DriverState = await node.driver.open(host);
  if (subtree.isGivenUp) {
    await state.close();
    subtree.checkGoing();
  }
  node.setState(state);
  // a failure closes it with the rest of the subtree
  await state.opened?.();
}

function checkNothingLeft(node: BlockNode, reader: OptionReader): void {
  const left = reader.remaining()[0];
  if (left === undefined) return;
  const { kind, name, hasProtocolName } = node.driver;
  throw new BlockError(
    kind === 'protocol' || hasProtocolName === true
      ? `Block protocol '${name}' doesn't support the option '${left}'`
      : `Block format '${name}' does not support the option '${left}'`,
    { code: 'EINVAL', hint: didYouMean(left, [...reader.known(), ...settingNames]) },
  );
}
