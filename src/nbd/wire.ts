/*
 * Whole NBD structs to and from bytes, in buffers that the caller owns. Big-endian, as the protocol document lays them out.
 * Offsets are numbers: a u64 above 2^53 decodes to a value above every image size, its halves are kept for messages.
 * Knows no socket, no state and no export.
 */
import { getU16, getU32, setU16, setU32, setU64 } from '../core/util/bytes.ts';
import {
  IHAVEOPT,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_REP_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  NBDMAGIC,
} from './protocol.ts';

export const requestSize = 28;
export const optionHeaderSize = 16;
const optionReplySize = 20;
export const simpleReplySize = 16;
const chunkHeaderSize = 20;
/** Header of an OFFSET_DATA chunk up to its data. */
export const dataChunkSize = 28;
export const holeChunkSize = 32;

/** One request as it came; reused by its session, copied when it outlives the batch. */
export interface RequestHeader {
  magic: number;
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Exact up to 2^53; above that merely large. */
  offset: number;
  offsetHigh: number;
  offsetLow: number;
  length: number;
}

export function emptyRequest(): RequestHeader {
  return { magic: 0, flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, offsetHigh: 0, offsetLow: 0, length: 0 };
}

/** Decodes the 28 bytes at `at` into `into`. */
export function decodeRequest(bytes: Uint8Array, at: number, into: RequestHeader): void {
  into.magic = getU32(bytes, at);
  into.flags = getU16(bytes, at + 4);
  into.type = getU16(bytes, at + 6);
  into.cookieHigh = getU32(bytes, at + 8);
  into.cookieLow = getU32(bytes, at + 12);
  into.offsetHigh = getU32(bytes, at + 16);
  into.offsetLow = getU32(bytes, at + 20);
  into.offset = into.offsetHigh * 4294967296 + into.offsetLow;
  into.length = getU32(bytes, at + 24);
}

/** The exact decimal text of the offset, for messages. */
export function offsetText(request: RequestHeader): string {
  return String((BigInt(request.offsetHigh) << 32n) | BigInt(request.offsetLow));
}

export function encodeSimpleReply(bytes: Uint8Array, at: number, request: RequestHeader, errno: number): void {
  setU32(bytes, at, NBD_SIMPLE_REPLY_MAGIC);
  setU32(bytes, at + 4, errno);
  setU32(bytes, at + 8, request.cookieHigh);
  setU32(bytes, at + 12, request.cookieLow);
}

function encodeChunk(bytes: Uint8Array, at: number, request: RequestHeader, flags: number, type: number, length: number): void {
  setU32(bytes, at, NBD_STRUCTURED_REPLY_MAGIC);
  setU16(bytes, at + 4, flags);
  setU16(bytes, at + 6, type);
  setU32(bytes, at + 8, request.cookieHigh);
  setU32(bytes, at + 12, request.cookieLow);
  setU32(bytes, at + 16, length);
}

/** A chunk without payload that ends the reply: 20 bytes. */
export function encodeDoneChunk(bytes: Uint8Array, at: number, request: RequestHeader): void {
  encodeChunk(bytes, at, request, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

/** The 28 bytes before `length` bytes of data. */
export function encodeDataChunk(bytes: Uint8Array, at: number, request: RequestHeader, offset: number, length: number, done: boolean): void {
  encodeChunk(bytes, at, request, done ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_OFFSET_DATA, 8 + length);
  setU64(bytes, at + 20, offset);
}

/** 32 bytes: `length` zeros at `offset`. */
export function encodeHoleChunk(bytes: Uint8Array, at: number, request: RequestHeader, offset: number, length: number, done: boolean): void {
  encodeChunk(bytes, at, request, done ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
  setU64(bytes, at + 20, offset);
  setU32(bytes, at + 28, length);
}

/** An error chunk that ends the reply. Returns its size. `message` is UTF-8, at most 4096 bytes. */
export function encodeErrorChunk(bytes: Uint8Array, at: number, request: RequestHeader, errno: number, message: Uint8Array): number {
  encodeChunk(bytes, at, request, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 6 + message.length);
  setU32(bytes, at + 20, errno);
  setU16(bytes, at + 24, message.length);
  bytes.set(message, at + 26);
  return chunkHeaderSize + 6 + message.length;
}

/** Header and context id of a block status chunk with `count` extents after it: 24 bytes. */
export function encodeStatusChunk(bytes: Uint8Array, at: number, request: RequestHeader, context: number, count: number, done: boolean): void {
  encodeChunk(bytes, at, request, done ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_BLOCK_STATUS, 4 + 8 * count);
  setU32(bytes, at + 20, context);
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
