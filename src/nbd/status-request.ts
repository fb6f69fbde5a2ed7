/*
 * BLOCK_STATUS: one chunk for each context that the client selected, sent as soon as it is known, so that a request keeps
 * the extents of one context at most. Rule source: NBD protocol document, NBD_CMD_BLOCK_STATUS; error text as qemu-nbd words it.
 */
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { collectExtents, Extents, extentsCost } from './extents.ts';
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
        to.keep(extentsCost(request.length));
        to.later(0, statusRest(to, chunks, { ...request }, index, extents));
        return;
      }
      sendExtents(to, chunks, request, index, extents);
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

/** The contexts from `first` on, whose extents are on their way and have room. Whoever has room never waits for more. */
async function statusRest(to: Serving, chunks: ChunkFraming, request: RequestHeader, first: number, pending: Promise<Extents>): Promise<void> {
  const cost = extentsCost(request.length);
  try {
    for (let index = first; index < to.contexts.length && !to.isClosed; index++) {
      if (index > first) {
        const room = to.takeRoom(cost);
        if (room === undefined) to.keep(cost);
        else await room;
      }
      await sendLater(to, chunks, request, index, index === first ? pending : undefined);
    }
  } catch (error) {
    answerError(to, request, error, failure);
  }
}

/** Sends extents and gives back the room that was kept for them. */
async function sendLater(to: Serving, chunks: ChunkFraming, request: RequestHeader, index: number, pending: Promise<Extents> | undefined): Promise<void> {
  try {
    const extents = pending ?? extentsOf(to, request, to.contexts[index]);
    sendExtents(to, chunks, request, index, isPending(extents) ? await extents : extents);
  } finally {
    to.giveRoom(extentsCost(request.length));
  }
}

function extentsOf(to: Serving, request: RequestHeader, offered: OfferedContext | undefined): Maybe<Extents> {
  if (offered === undefined) return new Extents();
  const onlyOne = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0;
  return collectExtents(offered.context, request.offset, request.length, onlyOne, to.budget);
}

function sendExtents(to: Serving, chunks: ChunkFraming, request: RequestHeader, index: number, extents: Extents): void {
  const size = chunks.statusSize(extents);
  const isLast = index === to.contexts.length - 1;
  const { replies } = to;
  chunks.encodeStatus(replies.room(size), replies.used, request, to.contexts[index]?.id ?? 0, extents, isLast);
  replies.advance(size);
}
