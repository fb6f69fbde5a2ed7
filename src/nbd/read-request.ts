/*
 * READ: the data land in the buffer they are sent from. With structured replies holes are told instead of sent, and large
 * reads leave in pieces, as fast as the client takes them; a simple reply and one with DF are whole.
 * Rule source: NBD protocol document, "Structured reply chunk types" and NBD_CMD_FLAG_DF.
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';
import type { ChunkFraming } from './framing.ts';
import * as p from './protocol.ts';
import { answerError, type Serving } from './serving.ts';
import type { RequestHeader } from './wire.ts';

/** Longest piece that is sent as one chunk. */
const maxPiece = 1024 * 1024;
/** How far the block status is asked for: what is found to be data is remembered by the export. */
const statusWindow = 16 * 1024 * 1024;
/** Pieces below this that complete one by one leave in one write. */
const smallPiece = 64 * 1024;
const failure = 'reading from file failed';

/** Answers a READ inside the export. `request` may be reused by its owner afterwards. */
export function serveRead(to: Serving, request: RequestHeader): void {
  const { length } = request;
  if (length === 0) {
    to.replies.empty(request);
    return;
  }
  let progress = 0;
  try {
    while (progress < length) {
      const step = nextPiece(to, request, progress);
      if (isPending(step)) {
        to.later(0, readRest(to, { ...request }, progress, step));
        return;
      }
      progress += step;
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

/** A READ with FUA, and what a flush has to do before it. */
export function serveReadAfter(to: Serving, request: RequestHeader, flushed: Maybe<void>): void {
  if (isPending(flushed)) to.later(0, readAfter(to, { ...request }, flushed));
  else serveRead(to, request);
}

async function readAfter(to: Serving, request: RequestHeader, flushed: Promise<void>): Promise<void> {
  try {
    await flushed;
  } catch (error) {
    answerError(to, request, error, 'flush failed');
    return;
  }
  serveRead(to, request);
}

/** What remains of a read after `step`, the piece under way that began at `from`. */
async function readRest(to: Serving, request: RequestHeader, from: number, step: Promise<number>): Promise<void> {
  try {
    let progress = from + (await step);
    while (progress < request.length && !to.isClosed) {
      const turn = to.budget.tick(maxPiece);
      if (isPending(turn)) await turn;
      const next = nextPiece(to, request, progress);
      progress += isPending(next) ? await next : next;
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

/** Sends the next chunk, a hole or data, or the whole reply. Returns the bytes it covers. */
function nextPiece(to: Serving, request: RequestHeader, progress: number): Maybe<number> {
  const { chunks } = to.framing;
  const at = request.offset + progress;
  const left = request.length - progress;
  if (chunks === undefined || (request.flags & p.NBD_CMD_FLAG_DF) !== 0) return readWhenRoom(to, request, at, left);
  if (to.exp.known.covers(at, left)) return readWhenRoom(to, request, at, Math.min(left, maxPiece));
  const run = runAt(to, at, left);
  return isPending(run) ? nextPieceSlow(to, chunks, { ...request }, at, left, run) : sendRun(to, chunks, request, at, left, run);
}

async function nextPieceSlow(to: Serving, chunks: ChunkFraming, request: RequestHeader, at: number, left: number, run: Promise<number>): Promise<number> {
  return sendRun(to, chunks, request, at, left, await run);
}

/** `run`: length of the data, or negative length of the hole, at `at`. */
function sendRun(to: Serving, chunks: ChunkFraming, request: RequestHeader, at: number, left: number, run: number): Maybe<number> {
  if (run > 0) return readWhenRoom(to, request, at, Math.min(run, left, maxPiece));
  const length = Math.min(-run, left);
  const { replies } = to;
  chunks.encodeHole(replies.room(chunks.holeSize), replies.used, request, at, length, length === left);
  replies.advance(chunks.holeSize);
  return length;
}

/** The run at `at`: its length, negative when it reads as zeros. What cannot be told is read. */
function runAt(to: Serving, at: number, left: number): Maybe<number> {
  const { exp } = to;
  const length = Math.min(exp.size - at, Math.max(left, statusWindow));
  try {
    const status = exp.status(at, length);
    if (isPending(status)) {
      return status.then(
        (told) => remember(to, at, told.zero, told.length),
        () => left,
      );
    }
    return remember(to, at, status.zero, status.length);
  } catch {
    return left;
  }
}

function remember(to: Serving, at: number, isZero: boolean, length: number): number {
  if (isZero) return -length;
  to.exp.known.add(at, length);
  return length;
}

function readWhenRoom(to: Serving, request: RequestHeader, at: number, length: number): Maybe<number> {
  // nobody is there to take it
  if (to.isClosed) return length;
  const room = to.takeRoom(length);
  return room === undefined ? readPiece(to, request, at, length) : readLater(to, { ...request }, at, length, room);
}

async function readLater(to: Serving, request: RequestHeader, at: number, length: number, room: Promise<void>): Promise<number> {
  await room;
  let piece: Maybe<number>;
  try {
    piece = to.isClosed ? length : readPiece(to, request, at, length);
  } finally {
    to.giveRoom(length);
  }
  return piece;
}

/** Reads `length` bytes at `at` and sends them as one chunk, or as the whole reply. Returns `length`. */
function readPiece(to: Serving, request: RequestHeader, at: number, length: number): Maybe<number> {
  const { replies, framing } = to;
  const header = framing.dataSize;
  const bytes = replies.room(header + length);
  const start = replies.used;
  const result = to.exp.read(at, bytes.subarray(start + header, start + header + length));
  if (isPending(result)) return readPieceSlow(to, { ...request }, at, length, result);
  framing.encodeData(bytes, start, request, at, length, at + length === request.offset + request.length);
  replies.advance(header + length);
  return length;
}

async function readPieceSlow(to: Serving, request: RequestHeader, at: number, length: number, result: Promise<void>): Promise<number> {
  const { replies, framing } = to;
  const reply = replies.reserve(framing.dataSize + length);
  try {
    await result;
  } catch (error) {
    reply.lease.release();
    throw error;
  }
  framing.encodeData(reply.bytes, 0, request, at, length, at + length === request.offset + request.length);
  if (length < smallPiece) replies.gather();
  replies.send(reply);
  return length;
}
