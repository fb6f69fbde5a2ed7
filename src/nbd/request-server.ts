/*
 * RequestServer: carries out one client's requests on its export and hands the answers to the reply queue. What the
 * backend can do at once is answered at once, without a promise; the rest is answered when it settles, in any order.
 * Knows no input framing. Rule source: NBD protocol document, "Request types"; error texts as qemu-nbd words them.
 */
import { type ReqFlags, reqFlag } from '../core/block/driver.ts';
import { setU32 } from '../core/util/bytes.ts';
import { chain, isPending, type Maybe } from '../core/util/maybe.ts';
import type { Lease } from './buffer-pool.ts';
import { collectExtents, type Extents, type MetaContext } from './meta-context.ts';
import * as p from './protocol.ts';
import { serveRead } from './read-request.ts';
import type { Serving } from './serving.ts';
import { encodeStatusChunk, type RequestHeader } from './wire.ts';

/**
 * Carries out a request that was not refused. `request` may be reused by its owner afterwards; `payload` must be left alone
 * until the request is answered: then `lease`, in which it lies, is released.
 */
export function serveRequest(to: Serving, request: RequestHeader, payload?: Uint8Array, lease?: Lease): void {
  const { exp } = to;
  const { offset, length } = request;
  const isFua = exp.writethrough || (request.flags & p.NBD_CMD_FLAG_FUA) !== 0;
  switch (request.type) {
    case p.NBD_CMD_READ:
      if ((request.flags & p.NBD_CMD_FLAG_FUA) !== 0) void flushThenRead(to, { ...request });
      else serveRead(to, request);
      return;
    case p.NBD_CMD_WRITE:
      answer(
        to,
        request,
        length,
        'writing to file failed',
        () => (payload === undefined ? undefined : exp.write(offset, payload, isFua ? reqFlag.fua : reqFlag.none)),
        lease,
      );
      return;
    case p.NBD_CMD_WRITE_ZEROES:
      answer(to, request, 0, 'writing to file failed', () => (length === 0 ? undefined : exp.zero(offset, length, zeroFlags(request.flags, isFua))));
      return;
    case p.NBD_CMD_TRIM:
      answer(to, request, 0, 'discard failed', () => chain(length === 0 ? undefined : exp.discard(offset, length), () => (isFua ? exp.flush() : undefined)));
      return;
    case p.NBD_CMD_FLUSH:
      answer(to, request, 0, 'flush failed', () => exp.flush());
      return;
    case p.NBD_CMD_CACHE:
      // filling the page cache is left to the kernel's read-ahead
      to.replies.done(request);
      return;
    case p.NBD_CMD_BLOCK_STATUS:
      serveBlockStatus(to, request);
      return;
    default:
      return;
  }
}

function zeroFlags(flags: number, isFua: boolean): ReqFlags {
  return (
    (isFua ? reqFlag.fua : 0) |
    ((flags & p.NBD_CMD_FLAG_NO_HOLE) === 0 ? reqFlag.mayUnmap : 0) |
    ((flags & p.NBD_CMD_FLAG_FAST_ZERO) === 0 ? 0 : reqFlag.noFallback)
  );
}

/** Runs `start` and answers with success, or with its error's number and `failure`. */
function answer(to: Serving, request: RequestHeader, cost: number, failure: string, start: () => Maybe<void>, lease?: Lease): void {
  let result: Maybe<void>;
  try {
    result = start();
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), failure);
    lease?.release();
    return;
  }
  if (isPending(result)) {
    void answerLater(to, { ...request }, cost, failure, result, lease);
    return;
  }
  to.replies.done(request);
  lease?.release();
}

async function answerLater(to: Serving, request: RequestHeader, cost: number, failure: string, result: Promise<void>, lease?: Lease): Promise<void> {
  to.begin(cost);
  try {
    await result;
    to.replies.done(request);
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), failure);
  }
  lease?.release();
  to.end(cost);
}

async function flushThenRead(to: Serving, request: RequestHeader): Promise<void> {
  to.begin(0);
  try {
    const flushed = to.exp.flush();
    if (isPending(flushed)) await flushed;
    serveRead(to, request);
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), 'flush failed');
  }
  to.end(0);
}

/** One chunk for each selected context. */
function serveBlockStatus(to: Serving, request: RequestHeader): void {
  const found: Extents[] = [];
  try {
    for (const context of to.contexts) {
      const extents = extentsOf(to, request, context);
      if (isPending(extents)) {
        void blockStatusSlow(to, { ...request }, found, extents);
        return;
      }
      found.push(extents);
    }
    replyExtents(to, request, found);
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), "can't get block status");
  }
}

/** Gathers what is missing: nothing is sent before all contexts are told, so that an error can still take their place. */
async function blockStatusSlow(to: Serving, request: RequestHeader, found: Extents[], first: Promise<Extents>): Promise<void> {
  to.begin(0);
  try {
    found.push(await first);
    for (const context of to.contexts.slice(found.length)) {
      const extents = extentsOf(to, request, context);
      found.push(isPending(extents) ? await extents : extents);
    }
    replyExtents(to, request, found);
  } catch (error) {
    to.replies.error(request, p.nbdErrno(error), "can't get block status");
  }
  to.end(0);
}

function extentsOf(to: Serving, request: RequestHeader, context: MetaContext): Maybe<Extents> {
  const onlyOne = (request.flags & p.NBD_CMD_FLAG_REQ_ONE) !== 0;
  return collectExtents(to.exp, context, request.offset, request.length, onlyOne, to.budget);
}

function replyExtents(to: Serving, request: RequestHeader, found: readonly Extents[]): void {
  found.forEach(({ pairs }, index) => {
    const size = 24 + 4 * pairs.length;
    const bytes = to.replies.room(size);
    const at = to.replies.used;
    encodeStatusChunk(bytes, at, request, to.contexts[index]?.id ?? 0, pairs.length / 2, index === found.length - 1);
    for (let i = 0; i < pairs.length; i++) setU32(bytes, at + 24 + 4 * i, pairs[i] ?? 0);
    to.replies.advance(size);
  });
}
