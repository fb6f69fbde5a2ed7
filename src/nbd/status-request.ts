/*
 * BLOCK_STATUS: one chunk for each context that the client selected, sent as soon as it is known, so that a request keeps
 * the extents of one context at most. Rule source: NBD protocol document, NBD_CMD_BLOCK_STATUS; error text as qemu-nbd words it.
 */
import { chain, isPending, type Maybe } from '../core/util/maybe.ts';
import { collectExtents, type Extents, extentsCost } from './extents.ts';
import type { ChunkFraming } from './framing.ts';
import type { OfferedContext } from './meta-context.ts';
import { NBD_CMD_FLAG_REQ_ONE } from './protocol.ts';
import { answerError, type Serving } from './serving.ts';
import type { RequestHeader } from './wire.ts';

const failure = "can't get block status";

/** Answers a BLOCK_STATUS inside the export. `request` may be reused by its owner afterwards. */
export function serveBlockStatus(to: Serving, request: RequestHeader): void {
  const { chunks } = to.framing;
  // contexts are selected by clients with structured replies only
  if (chunks === undefined) return;
  try {
    for (const [index, offered] of to.contexts.entries()) {
      const extents = extentsOf(to, request, offered);
      if (isPending(extents)) {
        to.later(extentsCost(request.length), statusRest(to, chunks, { ...request }, index, extents));
        return;
      }
      sendExtents(to, chunks, request, index, extents);
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

/** The contexts from `first` on, whose extents are on their way. */
async function statusRest(to: Serving, chunks: ChunkFraming, request: RequestHeader, first: number, pending: Promise<Extents>): Promise<void> {
  try {
    await sendWhenRoom(to, chunks, request, first, await pending);
    for (const [index, offered] of to.contexts.entries()) {
      if (index <= first || to.isClosed) continue;
      const extents = extentsOf(to, request, offered);
      await sendWhenRoom(to, chunks, request, index, isPending(extents) ? await extents : extents);
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

function extentsOf(to: Serving, request: RequestHeader, { context }: OfferedContext): Maybe<Extents> {
  const onlyOne = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0;
  return collectExtents(context, request.offset, request.length, onlyOne, to.budget);
}

function sendWhenRoom(to: Serving, chunks: ChunkFraming, request: RequestHeader, index: number, extents: Extents): Maybe<void> {
  const size = chunks.statusSize(extents);
  const room = to.takeRoom(size);
  if (room === undefined) return sendExtents(to, chunks, request, index, extents);
  return chain(room, () => {
    sendExtents(to, chunks, request, index, extents);
    to.giveRoom(size);
  });
}

function sendExtents(to: Serving, chunks: ChunkFraming, request: RequestHeader, index: number, extents: Extents): void {
  const size = chunks.statusSize(extents);
  const isLast = index === to.contexts.length - 1;
  const { replies } = to;
  chunks.encodeStatus(replies.room(size), replies.used, request, to.contexts[index]?.id ?? 0, extents, isLast);
  replies.advance(size);
}
