/*
 * Protocol drivers `file`, `host_device` and `host_cdrom`: one medium of the storage port as a node, a regular file or a device. Takes
 * image locks as the graph asks.
 */

import {
  type BlockDriver,
  type BlockStatus,
  type DriverState,
  type DriverStep,
  type Limits,
  type NodeHost,
  noLimits,
  type ReqFlags,
  reqFlag,
  type TruncateOptions,
} from '../block/driver.ts';
import type { BlockNode, NodeSettings } from '../block/node.ts';
import type { LockChange, Prealloc, Storage } from '../storage/storage.ts';
import { BlockError } from '../util/errors.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import type { PermBits } from '../util/perm-bits.ts';

class FileState implements DriverState {
  limits: Limits;
  readonly writeFlags: ReqFlags = reqFlag.mayUnmap;
  readonly exactFilename: string;
  readonly strongOptions: Readonly<Record<string, unknown>>;
  readonly permUpdate?: (held: PermBits, unshared: PermBits) => LockChange;
  #storage: Storage;
  #held: PermBits = 0;
  #unshared: PermBits = 0;
  #size: number;
  readonly #node: BlockNode;
  readonly #openAs: (settings: NodeSettings) => Promise<Storage>;

  constructor(storage: Storage, size: number, filename: string, node: BlockNode, openAs: (settings: NodeSettings) => Promise<Storage>) {
    this.#storage = storage;
    this.#node = node;
    this.#openAs = openAs;
    this.#size = size;
    this.exactFilename = filename;
    this.strongOptions = { filename };
    this.limits = limitsOf(storage);
    if (storage.setLocks !== undefined) this.permUpdate = (held, unshared) => this.#setLocks(held, unshared);
  }

  #setLocks(held: PermBits, unshared: PermBits): LockChange {
    const storage = this.#storage;
    const change = storage.setLocks?.(held, unshared);
    const before = { held: this.#held, unshared: this.#unshared };
    this.#held = held;
    this.#unshared = unshared;
    return {
      commit: () => {
        // another descriptor has taken the locks over
        if (storage === this.#storage) change?.commit();
      },
      abort: () => {
        this.#held = before.held;
        this.#unshared = before.unshared;
        change?.abort();
      },
    };
  }

  async reopen(settings: NodeSettings): Promise<DriverStep> {
    await this.#storage.flush();
    let next: Storage;
    try {
      next = await this.#openAs(settings);
    } catch (error) {
      throw error instanceof BlockError ? error.prepend('Could not reopen file: ') : error;
    }
    try {
      if (next.identity !== this.#storage.identity) throw new BlockError('Could not reopen file: Another file has its name now', { code: 'ESTALE' });
    } catch (error) {
      await next[Symbol.asyncDispose]();
      throw error;
    }
    return {
      commit: () => {
        const old = this.#storage;
        this.#takeOver(next);
        this.#storage = next;
        this.limits = limitsOf(next);
        this.#closeBehind(old);
      },
      abort: () => this.#closeBehind(next),
    };
  }

  /**
   * Takes the locks in force on another descriptor of the medium, while the one before still has them. Only then: to each
   * other's eyes both are strangers, and what one holds would keep the other from being tested. They are shared locks, which
   * nobody can refuse.
   */
  #takeOver(next: Storage): void {
    try {
      next.setLocks?.(this.#held, this.#unshared, true).commit();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
    }
  }

  /** Nothing of it is in use any more; a drain waits for it all the same. */
  #closeBehind(storage: Storage): void {
    this.#node.enter();
    void storage[Symbol.asyncDispose]()
      .then(undefined, () => {})
      .then(() => this.#node.leave());
  }

  /** What is no drive for discs has none, as with the peer. Where nobody can tell, reading does. */
  isInserted(): boolean {
    return this.#node.driver.isRemovable !== true || (this.#storage.hasDisc?.() ?? true);
  }

  get mediumIdentity(): string | undefined {
    return this.#storage.identity;
  }

  size(): number {
    return this.#size;
  }

  read(offset: number, into: Uint8Array): Maybe<void> {
    return this.#storage.read(offset, into);
  }

  write(offset: number, from: Uint8Array): Maybe<void> {
    const end = offset + from.length;
    const result = this.#storage.write(offset, from);
    if (isPending(result)) return this.#writeThenGrow(result, end);
    if (end > this.#size) this.#size = end;
  }

  async #writeThenGrow(pending: Promise<void>, end: number): Promise<void> {
    await pending;
    if (end > this.#size) this.#size = end;
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    return chain(this.#storage.zero(offset, length, (flags & reqFlag.mayUnmap) !== 0), () => {
      this.#size = Math.max(this.#size, offset + length);
      return true;
    });
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#storage.discard(offset, length);
  }

  flush(): Maybe<void> {
    return this.#storage.flush();
  }

  status(offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
    if (!precise) return { length, data: true, zero: false, allocated: true, hostOffset: offset };
    return chain(this.#storage.extents(offset, length), (extent) => ({
      length: extent.length,
      data: extent.data,
      zero: !extent.data,
      allocated: true,
      hostOffset: offset,
    }));
  }

  async truncate(size: number, { exact, prealloc }: TruncateOptions): Promise<void> {
    const { kind } = this.#storage.caps;
    if (kind === 'block-device' || kind === 'char-device') return this.#keepSize(size, exact, prealloc);
    if (prealloc === 'metadata') throw new BlockError('Unsupported preallocation mode: metadata', { code: 'ENOTSUP' });
    await this.#storage.truncate(size, prealloc);
    this.#size = await this.#storage.size();
  }

  /** Devices have the size that they have: more of it is no hindrance to who does not ask for an exact one. */
  async #keepSize(size: number, exact: boolean, prealloc: Prealloc): Promise<void> {
    if (prealloc !== 'off') throw new BlockError(`Preallocation mode '${prealloc}' unsupported for this non-regular file`, { code: 'ENOTSUP' });
    this.#size = await this.#storage.size();
    if (exact && size !== this.#size) throw new BlockError('Cannot resize device files', { code: 'ENOTSUP' });
    if (size > this.#size) throw new BlockError('Cannot grow device files', { code: 'EINVAL' });
  }

  allocatedSize(): Maybe<number> {
    return this.#storage.allocatedSize();
  }

  refreshSize(): Maybe<void> {
    return chain(this.#storage.size(), (size) => {
      this.#size = size;
    });
  }

  async close(): Promise<void> {
    await this.#storage[Symbol.asyncDispose]();
  }
}

function limitsOf({ caps }: Storage): Limits {
  const { align, memoryAlign = 1, device } = caps;
  if (align === 1 && memoryAlign === 1 && device === undefined) return noLimits;
  return {
    ...noLimits,
    requestAlign: align,
    ...(device === undefined ? {} : { zeroAlign: device.zeroAlign, discardAlign: device.discardAlign }),
    medium: { memoryAlign, maxHwTransfer: device?.maxHwTransfer ?? 0, maxHwIov: device?.maxHwIov ?? 0 },
  };
}

async function open(host: NodeHost): Promise<DriverState> {
  const { options, node } = host;
  const { name } = node.driver;
  // as an option a name is a name, whatever it begins with
  const filename = options.string('filename');
  if (filename === undefined || filename === '') throw new BlockError(`The '${name}' block driver requires a file name`, { code: 'ERR_OPTION' });
  const locking = options.enum('locking', ['auto', 'on', 'off'] as const);
  const aio = options.enum('aio', ['threads', 'native', 'io_uring'] as const);
  options.number('aio-max-batch');
  options.bool('drop-cache');
  options.bool('x-check-cache-dropped');
  const manager = options.string('pr-manager');
  if (manager !== undefined) throw new BlockError(`No persistent reservation manager with id '${manager}'`, { code: 'ERR_NOT_FOUND' });
  const { cache } = node.settings;
  // the way is ours to choose; what the peer demands of it holds all the same
  if (aio === 'native' && !cache.direct)
    throw new BlockError('aio=native was specified, but it requires cache.direct=on, which was not specified.', { code: 'ERR_OPTION' });
  const openWith = (settings: NodeSettings): Promise<Storage> =>
    host.openStorage(filename, {
      readOnly: settings.readOnly,
      create: 'never',
      direct: settings.cache.direct,
      noFlush: settings.cache.noFlush,
      locking,
    });
  const openAs = (readOnly: boolean): Promise<Storage> => openWith({ ...node.settings, readOnly });
  let storage: Storage;
  try {
    storage = await openAs(node.readOnly);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // opened, but it is none of the things that hold bytes
    if (error.code === 'ESPIPE' || (error.code === 'EISDIR' && node.readOnly)) throw error.with({ message: wrongKind(name, filename) });
    const isReadOnlyMedium = error.code === 'EACCES' || error.code === 'EROFS' || error.code === 'EPERM';
    if (node.readOnly || !node.settings.autoReadOnly || !isReadOnlyMedium) throw error.prepend(`Could not open '${filename}': `);
    storage = await openAs(true);
    node.whyReadOnly = error.prepend(`Could not open '${filename}': `);
    node.settings = { ...node.settings, readOnly: true };
  }
  try {
    const isDevice = storage.caps.kind === 'block-device' || storage.caps.kind === 'char-device';
    if (isDevice !== (name !== fileDriver.name)) throw new BlockError(wrongKind(name, filename), { code: 'EINVAL' });
    if (storage.caps.device?.isReadOnly === true && !storage.caps.readOnly) {
      throw new BlockError('The device is not writable: Permission denied', { code: 'EACCES' });
    }
    return new FileState(storage, await firstSize(storage), filename, node, openWith);
  } catch (error) {
    await storage[Symbol.asyncDispose]();
    throw error;
  }
}

async function firstSize(storage: Storage): Promise<number> {
  try {
    return await storage.size();
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Could not refresh total sector count: ') : error;
  }
}

function wrongKind(driver: string, filename: string): string {
  return `'${driver}' driver requires '${filename}' to be ${driver === fileDriver.name ? 'a regular file' : 'either a character or block device'}`;
}

export const fileDriver: BlockDriver = { name: 'file', kind: 'protocol', isMedium: true, open };
export const hostDeviceDriver: BlockDriver = { name: 'host_device', kind: 'protocol', isMedium: true, open };
export const hostCdromDriver: BlockDriver = { name: 'host_cdrom', kind: 'protocol', isMedium: true, isRemovable: true, open };
