/* Starting the NBD server and adding exports, for commands and for command-line options. */
import { temporarySocketPath } from '../../core/storage/socket-path.ts';
import { BlockError } from '../../core/util/errors.ts';
import type { NbdAddress } from '../../nbd/address.ts';
import type { Engine } from '../engine.ts';
import type { BitmapName } from '../export-bitmaps.ts';
import type { BlockExport } from '../exports.ts';
import { lookupEither, lookupNode } from './lookup.ts';

export interface ServerArgs {
  readonly addr: NbdAddress;
  readonly 'max-connections'?: number | undefined;
  readonly 'handshake-max-seconds'?: number | undefined;
  readonly 'tls-creds'?: string | undefined;
  readonly 'tls-authz'?: string | undefined;
}

/** A socket address of QAPI (flat form) as the NBD server takes it. */
export function nbdAddress(address: { readonly type: string; readonly path?: string; readonly host?: string; readonly port?: string }): NbdAddress {
  if (address.type === 'unix') return { type: 'unix', path: address.path || temporarySocketPath() };
  if (address.type === 'inet') return { type: 'inet', host: address.host ?? '', port: address.port ?? '' };
  // a descriptor is handed over by a machine's monitor only
  if (address.type === 'fd') throw new BlockError('only QEMU supports file descriptor passing', { code: 'ENOTSUP' });
  throw new BlockError(`Unsupported socket address type '${address.type}'`, { code: 'ENOTSUP' });
}

export async function startNbdServer(engine: Engine, args: ServerArgs): Promise<void> {
  if (engine.exports.serverAddress !== undefined) throw new BlockError('NBD server already running', { code: 'ERR_STATE' });
  const creds = args['tls-creds'];
  if (creds !== undefined) throw new BlockError(`No TLS credentials with id '${creds}'`, { code: 'ERR_NOT_FOUND' });
  if (args['tls-authz'] !== undefined) throw new BlockError("'tls-authz' requires 'tls-creds'", { code: 'ERR_OPTION' });
  const seconds = args['handshake-max-seconds'];
  await engine.exports.startServer(args.addr, {
    ...(args['max-connections'] === undefined ? {} : { maxConnections: args['max-connections'] }),
    ...(seconds === undefined ? {} : { handshakeTimeoutMs: seconds * 1000 }),
  });
}

export interface ExportArgs {
  readonly type: string;
  readonly id: string;
  readonly 'node-name': string;
  readonly writable?: boolean | undefined;
  readonly writethrough?: boolean | undefined;
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly bitmaps?: readonly BitmapName[] | undefined;
  readonly 'allocation-depth'?: boolean | undefined;
  readonly iothread?: string | readonly string[] | undefined;
  readonly 'fixed-iothread'?: boolean | undefined;
}

export interface DeviceExportArgs {
  /** A block device or a node. */
  readonly device: string;
  /** Id of the export and name for clients; default: the device's. */
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  /** Read-only nodes are exported read only all the same. */
  readonly writable: boolean;
  /** A dirty bitmap to show. */
  readonly bitmap?: string | undefined;
}

/** nbd-server-add: an export of a block device ends when its medium goes. */
export async function addDeviceExport(engine: Engine, args: DeviceExportArgs): Promise<void> {
  const node = lookupEither(engine, args.device);
  const name = args.name ?? args.device;
  const device = engine.machine?.findDrive(args.device)?.id;
  const writable = args.writable && !node.readOnly;
  await engine.exports.add({ id: name, node, name, description: args.description, writable, device, bitmaps: args.bitmap === undefined ? [] : [args.bitmap] });
}

/** block-export-add. */
export async function addExport(engine: Engine, args: ExportArgs): Promise<BlockExport> {
  const { exports } = engine;
  exports.checkId(args.id);
  const { iothread } = args;
  if (Array.isArray(iothread) && args['fixed-iothread'] === true)
    throw new BlockError('Cannot use fixed-iothread for a multi-threaded export', { code: 'ERR_OPTION' });
  if (args.type !== 'nbd') throw new BlockError('No driver found for the requested export type', { code: 'ERR_NOT_FOUND' });
  const node = lookupNode(engine, { nodeName: args['node-name'] });
  return exports.add({
    id: args.id,
    node,
    name: args.name ?? node.name,
    description: args.description,
    writable: args.writable ?? false,
    writethrough: args.writethrough ?? false,
    iothreads: typeof iothread === 'string' ? [iothread] : iothread,
    bitmaps: args.bitmaps,
    allocationDepth: args['allocation-depth'],
  });
}
