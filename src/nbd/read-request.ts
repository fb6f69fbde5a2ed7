/*
 * READ: the data land in the buffer they are sent from. With structured replies holes are told instead of sent, and large
 * reads leave in pieces, as fast as the client takes them; a simple reply and one with DF are whole.
 * Rule source: NBD protocol document, "Structured reply chunk types" and NBD_CMD_FLAG_DF.
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';
import * as p from './protocol.ts';
import type { Serving } from './serving.ts';
import { dataChunkSize, encodeDataChunk, encodeHoleChunk, encodeSimpleReply, holeChunkSize, type RequestHeader, simpleReplySize } from './wire.ts';

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
    to.replies.doneStructured(request);
    return;
  }
  const isSparse = to.structured && (request.flags & p.NBD_CMD_FLAG_DF) === 0;
  let progress = 0;
  try {
    while (progress < length) {
      let step: Maybe<number>;
      if (!isSparse) step = readPiece(to, request, request.offset, length);
      else {
        const room = to.roomToSend();
        step = isPending(room) ? room.then(() => 0) : nextPiece(to, request, progress);
      }
      if (isPending(step)) {
        void readRest(to, { ...request }, progress, step);
        return;
      }
      progress += step;
    }
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), failure);
  }
}

/** What remains of a read after `step`, the piece under way that began at `from`. */
async function readRest(to: Serving, request: RequestHeader, from: number, step: Promise<number>): Promise<void> {
  const cost = request.length <= maxPiece ? request.length : 2 * maxPiece;
  to.begin(cost);
  try {
    let progress = from + (await step);
    while (progress < request.length && !to.isClosed) {
      const room = to.roomToSend();
      if (isPending(room)) await room;
      const turn = to.budget.tick(maxPiece);
      if (isPending(turn)) await turn;
      const next = nextPiece(to, request, progress);
      progress += isPending(next) ? await next : next;
    }
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), failure);
  }
  to.end(cost);
}

/** Sends the next chunk of a sparse read: a hole or data. Returns the bytes it covers. */
function nextPiece(to: Serving, request: RequestHeader, progress: number): Maybe<number> {
  const at = request.offset + progress;
  const left = request.length - progress;
  if (to.exp.known.covers(at, left)) return readPiece(to, request, at, Math.min(left, maxPiece));
  const run = runAt(to, at, left);
  return isPending(run) ? nextPieceSlow(to, { ...request }, at, left, run) : sendRun(to, request, at, left, run);
}

async function nextPieceSlow(to: Serving, request: RequestHeader, at: number, left: number, run: Promise<number>): Promise<number> {
  return sendRun(to, request, at, left, await run);
}

/** `run`: length of the data, or negative length of the hole, at `at`. */
function sendRun(to: Serving, request: RequestHeader, at: number, left: number, run: number): Maybe<number> {
  if (run > 0) return readPiece(to, request, at, Math.min(run, left, maxPiece));
  const length = Math.min(-run, left);
  const bytes = to.replies.room(holeChunkSize);
  encodeHoleChunk(bytes, to.replies.used, request, at, length, length === left);
  to.replies.advance(holeChunkSize);
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

/** Reads `length` bytes at `at` and sends them as one chunk, or as the whole reply. Returns `length`. */
function readPiece(to: Serving, request: RequestHeader, at: number, length: number): Maybe<number> {
  const header = to.structured ? dataChunkSize : simpleReplySize;
  const bytes = to.replies.room(header + length);
  const start = to.replies.used;
  const result = to.exp.read(at, bytes.subarray(start + header, start + header + length));
  if (isPending(result)) return readPieceSlow(to, { ...request }, at, length, result);
  encodeHeader(to, bytes, start, request, at, length);
  to.replies.advance(header + length);
  return length;
}

async function readPieceSlow(to: Serving, request: RequestHeader, at: number, length: number, result: Promise<void>): Promise<number> {
  const { replies } = to;
  const header = to.structured ? dataChunkSize : simpleReplySize;
  const start = replies.used;
  const lease = replies.detach();
  try {
    await result;
  } catch (error) {
    lease.release();
    throw error;
  }
  encodeHeader(to, lease.bytes, start, request, at, length);
  if (length < smallPiece) replies.gather();
  replies.send(lease.bytes.subarray(start, start + header + length), lease);
  return length;
}

function encodeHeader(to: Serving, bytes: Uint8Array, start: number, request: RequestHeader, at: number, length: number): void {
  if (to.structured) encodeDataChunk(bytes, start, request, at, length, at + length === request.offset + request.length);
  else encodeSimpleReply(bytes, start, request, 0);
}
