/*
 * The handshake of one client: greeting, flags, then options until one of them starts transmission or ends it.
 * Fixed newstyle only. Option data are read piece by piece and never kept whole, so a client costs a few kilobytes.
 * Options that are malformed or unknown are skipped to their end and answered with the protocol's error.
 * Rule source: NBD protocol document, "Negotiation" and "Option types"; texts as qemu-nbd words them.
 */
import { getU16, getU32 } from '../core/util/bytes.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { ConnectionClosed } from './connection.ts';
import type { NbdExport } from './export.ts';
import type { FramedStream } from './framed-stream.ts';
import { type Framing, simpleFraming, structuredFraming } from './framing.ts';
import { matchesQuery, type OfferedContext } from './meta-context.ts';
import * as p from './protocol.ts';
import {
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionReply,
  encodeServerEntry,
  optionHeaderSize,
} from './wire.ts';

/** What the client and we agreed on. */
export interface Negotiated {
  readonly exp: NbdExport;
  readonly framing: Framing;
  /** Meta contexts selected for this export, in the order of their ids. */
  readonly contexts: readonly OfferedContext[];
}

/** What the handshake asks of the server. */
export interface ExportDirectory {
  exports(): readonly NbdExport[];
  findExport(name: string): NbdExport | undefined;
}

/** The handshake cannot go on: the connection is closed; `message` is for the server's log. */
export class HandshakeError extends Error {
  override readonly name = 'HandshakeError';
}

/** One piece of an option was wrong: the rest of the option is skipped, this is the answer. */
class OptionError extends Error {
  readonly reply: number;

  constructor(reply: number, message: string) {
    super(message);
    this.reply = reply;
  }
}

/** Negotiates on `stream`. Undefined: the client ended it in good order (ABORT). Throws HandshakeError or ConnectionClosed. */
export function negotiate(stream: FramedStream, directory: ExportDirectory): Promise<Negotiated | undefined> {
  return new Handshake(stream, directory).run();
}

class Handshake {
  readonly #stream: FramedStream;
  readonly #directory: ExportDirectory;
  #framing = simpleFraming;
  #noZeroes = false;
  /** The contexts of the last SET_META_CONTEXT and the export they were set for. */
  #contexts: readonly OfferedContext[] = [];
  #contextsOf: NbdExport | undefined;
  /** The option being read: its number and how many bytes of its data are unread. */
  #option = 0;
  #left = 0;

  constructor(stream: FramedStream, directory: ExportDirectory) {
    this.#stream = stream;
    this.#directory = directory;
  }

  async run(): Promise<Negotiated | undefined> {
    await this.#stream.send(encodeGreeting());
    const flags = getU32(await this.#stream.need(4), 0);
    const unknown = flags - (flags & (p.NBD_FLAG_C_FIXED_NEWSTYLE | p.NBD_FLAG_C_NO_ZEROES));
    if (unknown !== 0) throw new HandshakeError(`Unknown client flags 0x${unknown.toString(16)} received`);
    this.#noZeroes = (flags & p.NBD_FLAG_C_NO_ZEROES) !== 0;
    const isFixed = (flags & p.NBD_FLAG_C_FIXED_NEWSTYLE) !== 0;
    for (;;) {
      await this.#readOptionHeader();
      if (!isFixed && this.#option !== p.NBD_OPT_EXPORT_NAME) throw new HandshakeError(`Unsupported option ${this.#option}`);
      if (this.#option === p.NBD_OPT_EXPORT_NAME) return this.#exportName();
      if (this.#option === p.NBD_OPT_ABORT) {
        await this.#skipRest();
        // the client may be gone without waiting for the answer
        this.#stream.post(encodeOptionReply(this.#option, p.NBD_REP_ACK, noBytes));
        return undefined;
      }
      const started = await this.#answerOption();
      if (started !== undefined) return started;
    }
  }

  async #readOptionHeader(): Promise<void> {
    const header = await this.#optionHeader();
    if (getU32(header, 0) !== p.IHAVEOPT[0] || getU32(header, 4) !== p.IHAVEOPT[1]) throw new HandshakeError('Bad magic received');
    this.#option = getU32(header, 8);
    this.#left = getU32(header, 12);
    if (this.#left > p.NBD_MAX_BUFFER_SIZE) throw new HandshakeError(`len (${this.#left}) is larger than max len (${p.NBD_MAX_BUFFER_SIZE})`);
  }

  async #optionHeader(): Promise<Uint8Array> {
    try {
      return await this.#stream.need(optionHeaderSize);
    } catch (error) {
      if (error instanceof ConnectionClosed) throw new HandshakeError(`Failed to read opts magic: ${error.message}`);
      throw error;
    }
  }

  /** Answers one option; the result is set when it starts transmission. */
  async #answerOption(): Promise<Negotiated | undefined> {
    try {
      switch (this.#option) {
        case p.NBD_OPT_LIST:
          return await this.#list();
        case p.NBD_OPT_INFO:
        case p.NBD_OPT_GO:
          return await this.#info();
        case p.NBD_OPT_STRUCTURED_REPLY:
          return await this.#structuredReply();
        case p.NBD_OPT_LIST_META_CONTEXT:
        case p.NBD_OPT_SET_META_CONTEXT:
          return await this.#metaContexts();
        case p.NBD_OPT_STARTTLS:
          this.#wantNoData();
          throw new OptionError(p.NBD_REP_ERR_POLICY, 'TLS not configured');
        default:
          throw new OptionError(p.NBD_REP_ERR_UNSUP, `Unsupported option ${this.#option} (${p.optionName(this.#option)})`);
      }
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      await this.#skipRest();
      await this.#reply(error.reply, Buffer.from(error.message, 'utf8'));
      return undefined;
    }
  }

  async #exportName(): Promise<Negotiated> {
    if (this.#left > p.NBD_MAX_STRING_SIZE) throw new HandshakeError('Bad length received');
    const exp = this.#directory.findExport(decodeName(await this.#take(this.#left)));
    if (exp === undefined) throw new HandshakeError('export not found');
    await this.#stream.send(encodeExportNameReply(exp.size, this.#flagsOf(exp), !this.#noZeroes));
    return this.#agreed(exp);
  }

  async #list(): Promise<undefined> {
    this.#wantNoData();
    for (const exp of this.#directory.exports()) await this.#reply(p.NBD_REP_SERVER, encodeServerEntry(exp.nameBytes, exp.descriptionBytes));
    await this.#reply(p.NBD_REP_ACK, noBytes);
  }

  async #structuredReply(): Promise<undefined> {
    this.#wantNoData();
    if (this.#isStructured) throw new OptionError(p.NBD_REP_ERR_INVALID, 'structured reply already negotiated');
    this.#framing = structuredFraming;
    await this.#reply(p.NBD_REP_ACK, noBytes);
  }

  async #info(): Promise<Negotiated | undefined> {
    const name = await this.#readName();
    let wantsName = false;
    let wantsBlockSize = false;
    for (let count = getU16(await this.#takeField(2), 0); count > 0; count--) {
      const info = getU16(await this.#takeField(2), 0);
      if (info === p.NBD_INFO_NAME) wantsName = true;
      else if (info === p.NBD_INFO_BLOCK_SIZE) wantsBlockSize = true;
    }
    this.#wantNoData();
    const exp = this.#find(name);
    const isGo = this.#option === p.NBD_OPT_GO;
    if (wantsName) await this.#reply(p.NBD_REP_INFO, encodeInfoText(p.NBD_INFO_NAME, exp.nameBytes));
    if (exp.description) await this.#reply(p.NBD_REP_INFO, encodeInfoText(p.NBD_INFO_DESCRIPTION, exp.descriptionBytes));
    // a client that did not ask will not obey: it is told 1 and served all the same
    const minimum = !isGo || wantsBlockSize ? exp.minimumBlockSize : 1;
    const preferred = Math.max(p.NBD_PREFERRED_BLOCK_SIZE, minimum);
    const maxTransfer = exp.backend.limits.maxTransfer;
    const maximum = maxTransfer === 0 ? p.NBD_MAX_BUFFER_SIZE : Math.min(maxTransfer, p.NBD_MAX_BUFFER_SIZE);
    await this.#reply(p.NBD_REP_INFO, encodeInfoBlockSize(minimum, preferred, maximum));
    await this.#reply(p.NBD_REP_INFO, encodeInfoExport(exp.size, this.#flagsOf(exp)));
    if (!isGo && !wantsBlockSize && exp.minimumBlockSize > 1) {
      throw new OptionError(p.NBD_REP_ERR_BLOCK_SIZE_REQD, 'request NBD_INFO_BLOCK_SIZE to use this export');
    }
    await this.#reply(p.NBD_REP_ACK, noBytes);
    return isGo ? this.#agreed(exp) : undefined;
  }

  async #metaContexts(): Promise<undefined> {
    const isList = this.#option === p.NBD_OPT_LIST_META_CONTEXT;
    if (!isList) {
      if (!this.#isStructured) {
        throw new OptionError(p.NBD_REP_ERR_INVALID, `request option '${p.optionName(this.#option)}' when structured reply is not negotiated`);
      }
      // a SET that fails still replaces what was set before
      this.#contexts = [];
      this.#contextsOf = undefined;
    }
    const name = await this.#readName();
    const count = getU32(await this.#takeField(4), 0);
    const exp = this.#find(name);
    const selected = new Set<OfferedContext>();
    if (isList && count === 0) for (const offered of exp.contexts) selected.add(offered);
    for (let i = 0; i < count; i++) {
      const length = getU32(await this.#takeField(4), 0);
      if (length > this.#left) throw this.#inconsistent();
      if (length > p.NBD_MAX_STRING_SIZE) {
        await this.#stream.skip(length);
        this.#left -= length;
        continue;
      }
      const query = decodeName(await this.#take(length));
      for (const offered of exp.contexts) if (matchesQuery(offered.context, query, isList)) selected.add(offered);
    }
    this.#wantNoData();
    const contexts = [...selected].sort((a, b) => a.id - b.id);
    for (const { id, context } of contexts) {
      await this.#reply(p.NBD_REP_META_CONTEXT, encodeMetaContext(isList ? 0 : id, Buffer.from(context.name, 'utf8')));
    }
    await this.#reply(p.NBD_REP_ACK, noBytes);
    if (isList) return;
    this.#contexts = contexts;
    this.#contextsOf = exp;
  }

  // -- pieces of option data -----------------------------------------------------------------------------------------
  /** A length-prefixed name. */
  async #readName(): Promise<string> {
    const length = getU32(await this.#takeField(4), 0);
    if (length > p.NBD_MAX_STRING_SIZE) throw new OptionError(p.NBD_REP_ERR_INVALID, `Invalid name length: ${length}`);
    const bytes = await this.#takeField(length);
    if (bytes.includes(0)) throw new OptionError(p.NBD_REP_ERR_INVALID, `Unexpected embedded NUL in option ${p.optionName(this.#option)}`);
    return decodeName(bytes);
  }

  /** `size` bytes that the option must still have. */
  #takeField(size: number): Maybe<Uint8Array> {
    if (size > this.#left) throw this.#inconsistent();
    return this.#take(size);
  }

  #take(size: number): Maybe<Uint8Array> {
    this.#left -= size;
    return this.#stream.need(size);
  }

  #inconsistent(): OptionError {
    return new OptionError(p.NBD_REP_ERR_INVALID, `Inconsistent lengths in option ${p.optionName(this.#option)}`);
  }

  /** Nothing may be left of the option's data. */
  #wantNoData(): void {
    if (this.#left > 0) throw new OptionError(p.NBD_REP_ERR_INVALID, `option '${p.optionName(this.#option)}' has unexpected length`);
  }

  async #skipRest(): Promise<void> {
    const rest = this.#left;
    this.#left = 0;
    if (rest > 0) await this.#stream.skip(rest);
  }

  async #reply(type: number, payload: Uint8Array): Promise<void> {
    const sent = this.#stream.send(encodeOptionReply(this.#option, type, payload));
    if (isPending(sent)) await sent;
  }

  get #isStructured(): boolean {
    return this.#framing.chunks !== undefined;
  }

  // -- exports -------------------------------------------------------------------------------------------------------
  #find(name: string): NbdExport {
    const exp = this.#directory.findExport(name);
    if (exp !== undefined) return exp;
    const shown = Buffer.byteLength(name) > 80 ? `${name.slice(0, 80)}...` : name;
    throw new OptionError(p.NBD_REP_ERR_UNKNOWN, `export '${shown}' not present`);
  }

  #flagsOf(exp: NbdExport): number {
    return exp.flags | (this.#isStructured ? p.NBD_FLAG_SEND_DF : 0);
  }

  #agreed(exp: NbdExport): Negotiated {
    // contexts count only for the export they were set for
    const contexts = this.#contextsOf === exp ? this.#contexts : [];
    return { exp, framing: this.#framing, contexts };
  }
}

const noBytes = new Uint8Array(0);

function decodeName(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
