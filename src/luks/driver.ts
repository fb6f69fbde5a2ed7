/*
 * Format driver `luks`: a disk enciphered by LUKS version 1, behind its header or with the header on a node of its own. The
 * volume itself (header, keys, ciphers) is src/crypto. Rule source: LUKS on-disk format 1.2; observed behaviour of QEMU 11.1.
 */

import type { Child } from '../core/block/child.ts';
import {
  type BlockDriver,
  type CreateHost,
  type CreateOption,
  type CreateValues,
  childRole,
  type DriverState,
  type DriverStep,
  type FormatInfo,
  type Limits,
  type Measured,
  type MeasureSource,
  type NodeHost,
  noLimits,
  nothingToReopen,
  type PermRequest,
  type ReqFlags,
  reqFlag,
  type TruncateOptions,
} from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { refreshPermissions } from '../core/block/permissions.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { passphrase } from '../core/objects/secret.ts';
import { isPrealloc } from '../core/storage/storage.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import { chain, type Maybe, settle } from '../core/util/maybe.ts';
import { perm } from '../core/util/perm-bits.ts';
import { ScratchPool } from '../core/util/scratch.ts';
import { changeSlots } from '../crypto/key-slots.ts';
import { describeLuks } from '../crypto/luks-info.ts';
import { luksAmendOptions, luksCreateOptions } from '../crypto/luks-options.ts';
import { readLuksCreation, readSlotChange, secretRequired } from '../crypto/luks-values.ts';
import { type LuksMedium, LuksVolume, luksOverhead, newLuks } from '../crypto/luks-volume.ts';
import type { SectorCipher } from '../crypto/sector-cipher.ts';
import { cryptoSector } from '../crypto/sector-size.ts';

class LuksState implements DriverState {
  readonly limits: Limits = { ...noLimits, requestAlign: cryptoSector };
  readonly writeFlags: ReqFlags = reqFlag.fua;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  readonly #host: NodeHost;
  readonly #file: Child;
  readonly #volume: LuksVolume;
  readonly #isDetached: boolean;
  readonly #keySecret: string | undefined;
  /** Absent: the image is only looked at. */
  readonly #cipher: SectorCipher | undefined;
  readonly #scratch = new ScratchPool();
  #changesKeys = false;

  constructor(
    host: NodeHost,
    parts: { file: Child; volume: LuksVolume; isDetached: boolean; keySecret: string | undefined; cipher: SectorCipher | undefined },
  ) {
    this.#host = host;
    this.strongOptions = host.options.strong();
    this.#file = parts.file;
    this.#volume = parts.volume;
    this.#isDetached = parts.isDetached;
    this.#keySecret = parts.keySecret;
    this.#cipher = parts.cipher;
  }

  size(): number {
    return Math.max(0, wholeSize(this.#file) - this.#volume.payloadOffset);
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    const cipher = this.#usable();
    return chain(this.#file.read(offset + this.#volume.payloadOffset, into, flags), () => cipher.decrypt(offset / cryptoSector, into, into));
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    const cipher = this.#usable();
    const sealed = this.#scratch.take(from.length);
    return settle(
      () => {
        cipher.encrypt(offset / cryptoSector, from, sealed);
        return this.#file.write(offset + this.#volume.payloadOffset, sealed, flags);
      },
      () => this.#scratch.put(sealed),
    );
  }

  #usable(): SectorCipher {
    if (this.#cipher === undefined) throw secretRequired('');
    return this.#cipher;
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    if (size > Number.MAX_SAFE_INTEGER - this.#volume.payloadOffset) throw new BlockError('The requested file size is too large', { code: 'EFBIG' });
    await this.#file.truncate(size + this.#volume.payloadOffset, options);
  }

  info(): FormatInfo {
    return { encrypted: true, specific: { type: 'luks', data: describeLuks(this.#volume, this.#isDetached) } };
  }

  async amend(values: CreateValues, how: { readonly force: boolean }): Promise<void> {
    const change = readSlotChange(values, '');
    if (this.#keySecret === undefined) throw secretRequired('');
    const { objects, clock } = this.#host;
    const password = passphrase(objects, this.#keySecret);
    await this.#alone(() => changeSlots(this.#volume, change, { ...how, clock, password, secret: (id) => passphrase(objects, id) }));
  }

  /** Key slots are being changed: nobody else may write to the header, or look at it as it changes. */
  get changesKeys(): boolean {
    return this.#changesKeys;
  }

  async #alone(body: () => Promise<void>): Promise<void> {
    const refresh = (): void => runTransaction((transaction) => refreshPermissions([this.#host.node], transaction));
    this.#changesKeys = true;
    try {
      refresh();
      await body();
    } finally {
      this.#changesKeys = false;
      refresh();
    }
  }

  async reopen(): Promise<DriverStep> {
    return nothingToReopen;
  }

  async close(): Promise<void> {}
}

/** Files are told in whole sectors. */
function wholeSize(file: Child): number {
  return alignUp(file.size(), cryptoSector);
}

/** The way to a header that begins at the start of `child`. */
function mediumOf(child: Child): LuksMedium {
  return {
    read: (offset, into) => child.read(offset, into),
    write: (offset, from) => child.write(offset, from),
    flush: () => child.flush(),
  };
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.data | childRole.metadata | childRole.primary);
  const header = await host.openChild('header', childRole.metadata, { optional: true });
  const keySecret = host.options.string('key-secret');
  const isDetached = header !== undefined;
  const isLookedAt = host.node.settings.noIo;
  if (!isLookedAt && keySecret === undefined) throw secretRequired('');
  const password = isLookedAt || keySecret === undefined ? undefined : passphrase(host.objects, keySecret);
  const volume = await LuksVolume.open(mediumOf(header ?? file), isDetached);
  const cipher = password === undefined ? undefined : volume.cipher(await volume.unlock(password));
  if (volume.payloadOffset > wholeSize(file)) throw new BlockError('Could not refresh total sector count: Input/output error', { code: 'EIO' });
  return new LuksState(host, { file, volume, isDetached, keySecret, cipher });
}

/** The header changes with the key slots alone: else as many may use the image as may use the disk in it. */
function childPerm(node: BlockNode, _child: Child, asked: PermRequest): PermRequest {
  const needed = node.settings.noIo ? asked.perm : asked.perm | perm.consistentRead;
  const changesKeys = node.isOpen && node.state instanceof LuksState && node.state.changesKeys;
  if (!changesKeys) return { perm: needed, shared: asked.shared };
  return { perm: needed | perm.write, shared: asked.shared & ~(perm.consistentRead | perm.write) };
}

const createOptions: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'key-secret', type: 'string', help: 'ID of the secret that provides the keyslot passphrase' },
  ...luksCreateOptions(''),
  { name: 'detached-header', type: 'bool', help: 'Create a detached LUKS header' },
];

async function create(host: CreateHost, filename: string, values: CreateValues): Promise<void> {
  const { spec, iterTime, keySecret } = readLuksCreation(values, '');
  const preallocation = values['preallocation'] ?? 'off';
  // there are no metadata to allocate
  const inFile = preallocation === 'metadata' ? 'off' : preallocation;
  if (!isPrealloc(inFile)) throw new BlockError(`invalid parameter value: ${preallocation}`, { code: 'ERR_OPTION' });
  await host.createFile(filename, 0, 'off');
  if (keySecret === undefined) throw secretRequired('');
  const isDetached = values['detached-header'] === true;
  const made = await newLuks(spec, passphrase(host.objects, keySecret), { iterTime, isDetached, clock: host.clock });
  const file = await host.openFile(filename);
  try {
    await file.truncate(made.length + (isDetached ? 0 : Number(values['size'] ?? 0)), isDetached ? 'off' : inFile);
    await file.write(made.materialOffset, made.material);
    await file.flush();
    // without it there is no volume
    await file.write(0, made.header);
    await file.flush();
  } finally {
    await file.close();
  }
}

async function measure(values: CreateValues, source: MeasureSource | undefined): Promise<Measured> {
  const { spec, keySecret } = readLuksCreation(values, '');
  if (keySecret === undefined) throw secretRequired('');
  const bytes = luksOverhead(spec) + (source?.size ?? Number(values['size'] ?? 0));
  return { required: bytes, fullyAllocated: bytes };
}

export const luksDriver: BlockDriver = {
  name: 'luks',
  kind: 'format',
  open,
  childPerm,
  createOptions,
  create,
  measure,
  amendOptions: luksAmendOptions(''),
};
