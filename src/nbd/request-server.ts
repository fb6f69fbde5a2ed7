/*
 * RequestServer: carries out one client's requests on its export and hands the answers to the reply queue. What the
 * backend can do at once is answered at once, without a promise; the rest is answered when it settles, in any order.
 * Knows no input framing. Rule source: NBD protocol document, "Request types"; error texts as qemu-nbd words them.
 */
import { type ReqFlags, reqFlag } from '../core/block/driver.ts';
import { chain, isPending, type Maybe } from '../core/util/maybe.ts';
import type { Lease } from './buffer-pool.ts';
import type { NbdExport } from './export.ts';
import * as p from './protocol.ts';
import { serveRead, serveReadAfter } from './read-request.ts';
import { answerError, type Serving } from './serving.ts';
import { serveBlockStatus } from './status-request.ts';
import type { RequestHeader } from './wire.ts';

/**
 * Carries out a request that was not refused. `request` may be reused by its owner afterwards; `payload` must be left alone
 * until the request is answered: then `lease`, in which it lies, is released. Throws on a bug of ours only.
 */
export function serveRequest(to: Serving, request: RequestHeader, payload?: Uint8Array, lease?: Lease): void {
  if (request.type === p.NBD_CMD_READ && (request.flags & p.NBD_CMD_FLAG_FUA) === 0) {
    serveRead(to, request);
    return;
  }
  if (request.type === p.NBD_CMD_BLOCK_STATUS) {
    serveBlockStatus(to, request);
    return;
  }
  let result: Maybe<void>;
  try {
    result = perform(to.exp, request, payload);
  } catch (error) {
    lease?.release();
    answerError(to, request, error, failureOf(request.type));
    return;
  }
  if (request.type === p.NBD_CMD_READ) {
    serveReadAfter(to, request, result);
    return;
  }
  if (isPending(result)) {
    // a payload without a lease keeps the chunk of input that it came in
    const cost = lease === undefined && payload !== undefined ? payload.buffer.byteLength : 0;
    to.later(cost, answerLater(to, { ...request }, result, lease));
    return;
  }
  lease?.release();
  to.replies.done(request);
}

/** What a request does to the export; for a READ, what comes before it. */
function perform(exp: NbdExport, request: RequestHeader, payload: Uint8Array | undefined): Maybe<void> {
  const { offset, length } = request;
  const isFua = exp.writethrough || (request.flags & p.NBD_CMD_FLAG_FUA) !== 0;
  switch (request.type) {
    case p.NBD_CMD_WRITE:
      return payload === undefined ? undefined : exp.write(offset, payload, isFua ? reqFlag.fua : reqFlag.none);
    case p.NBD_CMD_WRITE_ZEROES:
      return length === 0 ? undefined : exp.zero(offset, length, zeroFlags(request.flags, isFua));
    case p.NBD_CMD_TRIM:
      return chain(length === 0 ? undefined : exp.discard(offset, length), () => (isFua ? exp.flush() : undefined));
    case p.NBD_CMD_FLUSH:
    case p.NBD_CMD_READ:
      return exp.flush();
    default:
      // CACHE: filling the page cache is left to the kernel's read-ahead
      return undefined;
  }
}

function zeroFlags(flags: number, isFua: boolean): ReqFlags {
  return (
    (isFua ? reqFlag.fua : 0) |
    ((flags & p.NBD_CMD_FLAG_NO_HOLE) === 0 ? reqFlag.mayUnmap : 0) |
    ((flags & p.NBD_CMD_FLAG_FAST_ZERO) === 0 ? 0 : reqFlag.noFallback)
  );
}

function failureOf(type: number): string {
  switch (type) {
    case p.NBD_CMD_WRITE:
    case p.NBD_CMD_WRITE_ZEROES:
      return 'writing to file failed';
    case p.NBD_CMD_TRIM:
      return 'discard failed';
    default:
      return 'flush failed';
  }
}

async function answerLater(to: Serving, request: RequestHeader, result: Promise<void>, lease: Lease | undefined): Promise<void> {
  try {
    await result;
    to.replies.done(request);
  } catch (error) {
    answerError(to, request, error, failureOf(request.type));
  } finally {
    lease?.release();
  }
}
