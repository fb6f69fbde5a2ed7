/*
 * NbdExport: what a client sees of a node: a name, a size taken when the export was made, flags, and meta contexts.
 * Holds a block backend of its own (permissions and drain are the backend's business) and knows its sessions, so that
 * it can be taken away. Knows no socket and no byte layout. Rule source: NBD protocol document, "Transmission flags".
 */
import type { Limits, ReqFlags, TruncateOptions } from '../core/block/driver.ts';
import { isZero } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { allocationDepth, type LayeredStatus } from './allocation-depth.ts';
import { baseAllocation } from './base-allocation.ts';
import { KnownData } from './known-data.ts';
import { ContextList, type MetaContext, type OfferedContext } from './meta-context.ts';
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_MAX_STRING_SIZE,
} from './protocol.ts';

/** The part of a BlockBackend that an export uses. */
export interface ExportBackend {
  readonly readOnly: boolean;
  readonly limits: Limits;
  size(): number;
  read(offset: number, into: Uint8Array): Maybe<void>;
  write(offset: number, from: Uint8Array, flags?: ReqFlags): Maybe<void>;
  zero(offset: number, length: number, flags?: ReqFlags): Maybe<void>;
  discard(offset: number, length: number): Maybe<void>;
  flush(): Maybe<void>;
  status(offset: number, length: number): Maybe<LayeredStatus>;
  /** Changes the size of the node. */
  truncate?(size: number, options: TruncateOptions): Promise<void>;
}

export interface NbdExportOptions {
  readonly name: string;
  readonly backend: ExportBackend;
  readonly description?: string | undefined;
  /** Asked for; an export of a read-only node stays read-only. Default false. */
  readonly writable?: boolean | undefined;
  /** Several clients may be served at once: CAN_MULTI_CONN. Default true. */
  readonly multiConn?: boolean | undefined;
  /** A part of the node: its start and length in bytes. */
  readonly offset?: number | undefined;
  readonly length?: number | undefined;
  /** Each write is on stable storage before it is answered. */
  readonly writethrough?: boolean | undefined;
  /** Offers `qemu:allocation-depth`. */
  readonly allocationDepth?: boolean | undefined;
}

/** A client in transmission. */
export interface ExportSession {
  /** Drops the client; settles when none of its requests is in flight. */
  close(): Promise<void>;
}

export class NbdExport {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly description: string | undefined;
  readonly descriptionBytes: Uint8Array;
  readonly backend: ExportBackend;
  readonly size: number;
  /** Where the export starts in the node. */
  readonly start: number;
  readonly writable: boolean;
  readonly writethrough: boolean;
  /** Transmission flags that do not depend on the connection. */
  readonly flags: number;
  readonly known: KnownData;
  /** How much of the export the node has; less than `size` when it ends within a sector. */
  #solid: number;
  readonly #contexts = new ContextList();
  readonly #sessions = new Set<ExportSession>();
  #isClosing = false;

  /** Throws when the name or the description is longer than the protocol carries. */
  constructor(options: NbdExportOptions) {
    this.name = options.name;
    this.nameBytes = Buffer.from(options.name, 'utf8');
    this.description = options.description;
    this.descriptionBytes = Buffer.from(options.description ?? '', 'utf8');
    if (this.nameBytes.length > NBD_MAX_STRING_SIZE) throw new BlockError(`export name '${options.name}' too long`, { code: 'ERR_NAME' });
    if (this.descriptionBytes.length > NBD_MAX_STRING_SIZE) throw new BlockError(`description '${options.description}' too long`, { code: 'ERR_OPTION' });
    this.backend = options.backend;
    this.start = options.offset ?? 0;
    // a ragged end counts as one more sector, which reads as zeros
    const available = Math.max(alignUp(options.backend.size(), 512) - this.start, 0);
    this.size = options.length ?? available;
    this.#solid = Math.min(this.size, Math.max(options.backend.size() - this.start, 0));
    this.writable = (options.writable ?? false) && !options.backend.readOnly;
    this.writethrough = options.writethrough ?? false;
    this.flags =
      NBD_FLAG_HAS_FLAGS |
      NBD_FLAG_SEND_FLUSH |
      NBD_FLAG_SEND_FUA |
      NBD_FLAG_SEND_CACHE |
      (this.writable ? NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO : NBD_FLAG_READ_ONLY) |
      ((options.multiConn ?? true) ? NBD_FLAG_CAN_MULTI_CONN : 0);
    this.known = new KnownData(this.size);
    const status = (offset: number, length: number): Maybe<LayeredStatus> => this.status(offset, length);
    this.#contexts.add(baseAllocation(status));
    if (options.allocationDepth) this.#contexts.add(allocationDepth(status));
  }

  /** Clients in transmission. */
  get clientCount(): number {
    return this.#sessions.size;
  }

  /** Meta contexts by id. */
  get contexts(): readonly OfferedContext[] {
    return this.#contexts.offered;
  }

  /** Offers one more to clients that negotiate from now on. False: there is one of that name. */
  addContext(context: MetaContext): boolean {
    return this.#contexts.add(context);
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** The alignment that requests need below; 1 when any will do. */
  get minimumBlockSize(): number {
    return this.backend.limits.requestAlign;
  }

  enter(session: ExportSession): void {
    this.#sessions.add(session);
  }

  leave(session: ExportSession): void {
    this.#sessions.delete(session);
  }

  /** Sends every client away; settles when no request of theirs is in flight. No client enters afterwards. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#sessions].map((session) => session.close()));
  }

  // -- requests: offsets of the export, inside its size --------------------------------------------------------------
  read(offset: number, into: Uint8Array): Maybe<void> {
    if (offset + into.length <= this.#solid) return this.backend.read(this.start + offset, into);
    const length = this.#solidPart(offset, into.length);
    into.fill(0, length);
    return length === 0 ? undefined : this.backend.read(this.start + offset, into.subarray(0, length));
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    if (offset + from.length <= this.#solid) return this.backend.write(this.start + offset, from, flags);
    const length = this.#solidPart(offset, from.length);
    if (!isZero(from.subarray(length))) return this.#growThenWrite(offset, from, flags);
    return length === 0 ? undefined : this.backend.write(this.start + offset, from.subarray(0, length), flags);
  }

  /** The bytes after a ragged end come into being with the first write that is not zeros. */
  async #growThenWrite(offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
    const { backend } = this;
    if (backend.truncate === undefined) throw new BlockError('No space left on device', { code: 'ENOSPC' });
    await backend.truncate(this.start + this.size, { exact: true, prealloc: 'off' });
    this.#solid = this.size;
    await backend.write(this.start + offset, from, flags);
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<void> {
    const solid = this.#solidPart(offset, length);
    return solid === 0 ? undefined : this.#forget(offset, solid, this.backend.zero(this.start + offset, solid, flags));
  }

  discard(offset: number, length: number): Maybe<void> {
    const solid = this.#solidPart(offset, length);
    return solid === 0 ? undefined : this.#forget(offset, solid, this.backend.discard(this.start + offset, solid));
  }

  flush(): Maybe<void> {
    return this.backend.flush();
  }

  status(offset: number, length: number): Maybe<LayeredStatus> {
    if (offset >= this.#solid) return { length, data: false, zero: true, allocated: true };
    return this.backend.status(this.start + offset, this.#solidPart(offset, length));
  }

  /** How much of the range the node has. */
  #solidPart(offset: number, length: number): number {
    return Math.max(0, Math.min(length, this.#solid - offset));
  }

  /** Data may be a hole now: asked for again by the next read. */
  #forget(offset: number, length: number, result: Maybe<void>): Maybe<void> {
    if (!isPending(result)) {
      this.known.remove(offset, length);
      return;
    }
    return result.finally(() => this.known.remove(offset, length));
  }
}
