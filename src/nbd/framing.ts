/*
 * Framing: the layout of the messages of transmission. Which one holds is agreed in the handshake and belongs to a session:
 * simple replies or structured ones; extended headers would be a third. All sizes of headers are asked of it.
 * Encoders write into buffers that the caller owns, big-endian. Rule source: NBD protocol document, "Transmission phase".
 */
import { getU16, getU32, setU16, setU32, setU64 } from '../core/util/bytes.ts';
import type { Extents } from './extents.ts';
import * as p from './protocol.ts';
import type { RequestHeader } from './wire.ts';

export interface Framing {
  readonly requestSize: number;
  /** Decodes the `requestSize` bytes at `at` into `into`. */
  decodeRequest(bytes: Uint8Array, at: number, into: RequestHeader): void;
  /** Success without data. */
  readonly doneSize: number;
  encodeDone(bytes: Uint8Array, at: number, request: RequestHeader): void;
  /** The answer to a READ of no bytes. */
  readonly emptySize: number;
  encodeEmpty(bytes: Uint8Array, at: number, request: RequestHeader): void;
  /** What stands before the data of a READ. */
  readonly dataSize: number;
  /** Before `length` bytes at `offset`; `done`: nothing comes after them. */
  encodeData(bytes: Uint8Array, at: number, request: RequestHeader, offset: number, length: number, done: boolean): void;
  /** A failure; `message` is UTF-8, at most 4096 bytes, and told where the layout has a place for it. */
  errorSize(message: Uint8Array): number;
  encodeError(bytes: Uint8Array, at: number, request: RequestHeader, errno: number, message: Uint8Array): void;
  /** Replies that come in several chunks; absent: every reply is whole. */
  readonly chunks: ChunkFraming | undefined;
}

export interface ChunkFraming {
  readonly holeSize: number;
  /** `length` zeros at `offset`. */
  encodeHole(bytes: Uint8Array, at: number, request: RequestHeader, offset: number, length: number, done: boolean): void;
  statusSize(extents: Extents): number;
  encodeStatus(bytes: Uint8Array, at: number, request: RequestHeader, context: number, extents: Extents, done: boolean): void;
}

// -- headers of 28 bytes -----------------------------------------------------------------------------------------------
const requestSize = 28;

function decodeRequest(bytes: Uint8Array, at: number, into: RequestHeader): void {
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

// -- simple replies ----------------------------------------------------------------------------------------------------
const simpleSize = 16;

function encodeSimple(bytes: Uint8Array, at: number, request: RequestHeader, errno: number): void {
  setU32(bytes, at, p.NBD_SIMPLE_REPLY_MAGIC);
  setU32(bytes, at + 4, errno);
  setU32(bytes, at + 8, request.cookieHigh);
  setU32(bytes, at + 12, request.cookieLow);
}

function encodeSuccess(bytes: Uint8Array, at: number, request: RequestHeader): void {
  encodeSimple(bytes, at, request, 0);
}

export const simpleFraming: Framing = {
  requestSize,
  decodeRequest,
  doneSize: simpleSize,
  encodeDone: encodeSuccess,
  emptySize: simpleSize,
  encodeEmpty: encodeSuccess,
  dataSize: simpleSize,
  encodeData: encodeSuccess,
  errorSize: () => simpleSize,
  encodeError: encodeSimple,
  chunks: undefined,
};

// -- structured replies ------------------------------------------------------------------------------------------------
const chunkSize = 20;

function encodeChunk(bytes: Uint8Array, at: number, request: RequestHeader, done: boolean, type: number, length: number): void {
  setU32(bytes, at, p.NBD_STRUCTURED_REPLY_MAGIC);
  setU16(bytes, at + 4, done ? p.NBD_REPLY_FLAG_DONE : 0);
  setU16(bytes, at + 6, type);
  setU32(bytes, at + 8, request.cookieHigh);
  setU32(bytes, at + 12, request.cookieLow);
  setU32(bytes, at + 16, length);
}

export const structuredFraming: Framing = {
  requestSize,
  decodeRequest,
  // the protocol leaves the choice; this is the shorter, and what qemu-nbd sends
  doneSize: simpleSize,
  encodeDone: encodeSuccess,
  emptySize: chunkSize,
  encodeEmpty: (bytes, at, request) => encodeChunk(bytes, at, request, true, p.NBD_REPLY_TYPE_NONE, 0),
  dataSize: chunkSize + 8,
  encodeData: (bytes, at, request, offset, length, done) => {
    encodeChunk(bytes, at, request, done, p.NBD_REPLY_TYPE_OFFSET_DATA, 8 + length);
    setU64(bytes, at + chunkSize, offset);
  },
  errorSize: (message) => chunkSize + 6 + message.length,
  encodeError: (bytes, at, request, errno, message) => {
    encodeChunk(bytes, at, request, true, p.NBD_REPLY_TYPE_ERROR, 6 + message.length);
    setU32(bytes, at + chunkSize, errno);
    setU16(bytes, at + chunkSize + 4, message.length);
    bytes.set(message, at + chunkSize + 6);
  },
  chunks: {
    holeSize: chunkSize + 12,
    encodeHole: (bytes, at, request, offset, length, done) => {
      encodeChunk(bytes, at, request, done, p.NBD_REPLY_TYPE_OFFSET_HOLE, 12);
      setU64(bytes, at + chunkSize, offset);
      setU32(bytes, at + chunkSize + 8, length);
    },
    statusSize: (extents) => chunkSize + 4 + 8 * extents.count,
    encodeStatus: (bytes, at, request, context, extents, done) => {
      encodeChunk(bytes, at, request, done, p.NBD_REPLY_TYPE_BLOCK_STATUS, 4 + 8 * extents.count);
      setU32(bytes, at + chunkSize, context);
      for (let index = 0; index < extents.count; index++) {
        const pair = at + chunkSize + 4 + 8 * index;
        setU32(bytes, pair, extents.lengthOf(index));
        setU32(bytes, pair + 4, extents.stateOf(index));
      }
    },
  },
};
