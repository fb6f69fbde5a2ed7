/*
 * The structs of the handshake to bytes, and a request as it is held once it was decoded. Big-endian, as the protocol
 * document lays them out. What transmission sends and gets is laid out in framing.ts. Knows no socket, no state, no export.
 */
import { setU16, setU32, setU64 } from '../core/util/bytes.ts';
import { IHAVEOPT, NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES, NBD_INFO_BLOCK_SIZE, NBD_INFO_EXPORT, NBD_REP_MAGIC, NBDMAGIC } from './protocol.ts';

export const optionHeaderSize = 16;
const optionReplySize = 20;

/** One request as it came; reused by its session, copied when it outlives the batch. */
export interface RequestHeader {
  magic: number;
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Exact up to 2^53; above that merely large: the check of requests lets none of those through. */
  offset: number;
  offsetHigh: number;
  offsetLow: number;
  length: number;
}

export function emptyRequest(): RequestHeader {
  return { magic: 0, flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, offsetHigh: 0, offsetLow: 0, length: 0 };
}

/** The exact decimal text of the offset, for messages. */
export function offsetText(request: RequestHeader): string {
  return String((BigInt(request.offsetHigh) << 32n) | BigInt(request.offsetLow));
}

/** The server's first 18 bytes. */
export function encodeGreeting(): Uint8Array {
  const bytes = new Uint8Array(18);
  setU32(bytes, 0, NBDMAGIC[0]);
  setU32(bytes, 4, NBDMAGIC[1]);
  setU32(bytes, 8, IHAVEOPT[0]);
  setU32(bytes, 12, IHAVEOPT[1]);
  setU16(bytes, 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
  return bytes;
}

/** An option reply with its payload. */
export function encodeOptionReply(option: number, type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(optionReplySize + payload.length);
  setU32(bytes, 0, NBD_REP_MAGIC[0]);
  setU32(bytes, 4, NBD_REP_MAGIC[1]);
  setU32(bytes, 8, option);
  setU32(bytes, 12, type);
  setU32(bytes, 16, payload.length);
  bytes.set(payload, optionReplySize);
  return bytes;
}

/** Payload of REP_SERVER: name and description. */
export function encodeServerEntry(name: Uint8Array, description: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + name.length + description.length);
  setU32(bytes, 0, name.length);
  bytes.set(name, 4);
  bytes.set(description, 4 + name.length);
  return bytes;
}

/** Payload of an info that is a text (name, description). */
export function encodeInfoText(type: number, text: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + text.length);
  setU16(bytes, 0, type);
  bytes.set(text, 2);
  return bytes;
}

export function encodeInfoExport(size: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(12);
  setU16(bytes, 0, NBD_INFO_EXPORT);
  setU64(bytes, 2, size);
  setU16(bytes, 10, flags);
  return bytes;
}

export function encodeInfoBlockSize(minimum: number, preferred: number, maximum: number): Uint8Array {
  const bytes = new Uint8Array(14);
  setU16(bytes, 0, NBD_INFO_BLOCK_SIZE);
  setU32(bytes, 2, minimum);
  setU32(bytes, 6, preferred);
  setU32(bytes, 10, maximum);
  return bytes;
}

/** Payload of REP_META_CONTEXT. */
export function encodeMetaContext(id: number, name: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + name.length);
  setU32(bytes, 0, id);
  bytes.set(name, 4);
  return bytes;
}

/** Answer to EXPORT_NAME: no reply header; 124 zeros unless the client refused them. */
export function encodeExportNameReply(size: number, flags: number, zeroes: boolean): Uint8Array {
  const bytes = new Uint8Array(zeroes ? 134 : 10);
  setU64(bytes, 0, size);
  setU16(bytes, 8, flags);
  return bytes;
}
