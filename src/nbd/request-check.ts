/*
 * Which requests are refused before anything is done, with which error. Order of the checks and texts are qemu-nbd's;
 * the error numbers are the protocol's (qemu-nbd answers EINVAL to all). Knows no bytes and no socket.
 * Rule source: NBD protocol document, "Request types" and "Error values".
 */
import type { NbdExport } from './export.ts';
import * as p from './protocol.ts';
import { offsetText, type RequestHeader } from './wire.ts';

export interface Refusal {
  readonly errno: number;
  readonly message: string;
  /** The stream cannot be followed any more: close after the answer. */
  readonly isFatal?: boolean;
}

/** Undefined: the request may be carried out. The payload of a WRITE is to be consumed in any case that is not fatal. */
export function refusalOf(request: RequestHeader, exp: NbdExport, structured: boolean, hasContexts: boolean): Refusal | undefined {
  if (request.magic !== p.NBD_REQUEST_MAGIC) {
    const text = `invalid magic (got 0x${request.magic.toString(16)}, expected 0x${p.NBD_REQUEST_MAGIC.toString(16)})`;
    return { errno: p.NBD_EINVAL, message: text, isFatal: true };
  }
  const { type, length } = request;
  let validFlags = p.NBD_CMD_FLAG_FUA;
  let isLimited = false;
  let changes = false;
  switch (type) {
    case p.NBD_CMD_READ:
      if (structured) validFlags |= p.NBD_CMD_FLAG_DF;
      isLimited = true;
      break;
    case p.NBD_CMD_WRITE:
      isLimited = true;
      changes = true;
      break;
    case p.NBD_CMD_CACHE:
      isLimited = true;
      break;
    case p.NBD_CMD_TRIM:
      changes = true;
      break;
    case p.NBD_CMD_WRITE_ZEROES:
      validFlags |= p.NBD_CMD_FLAG_NO_HOLE | p.NBD_CMD_FLAG_FAST_ZERO;
      changes = true;
      break;
    case p.NBD_CMD_BLOCK_STATUS:
      validFlags |= p.NBD_CMD_FLAG_REQ_ONE;
      break;
    default:
      break;
  }
  if (isLimited && length > p.NBD_MAX_BUFFER_SIZE) {
    // a payload of that size is not worth reading to its end
    return { errno: p.NBD_EINVAL, message: `len (${length}) is larger than max len (${p.NBD_MAX_BUFFER_SIZE})`, isFatal: type === p.NBD_CMD_WRITE };
  }
  if (changes && !exp.writable) return { errno: p.NBD_EPERM, message: 'Export is read-only' };
  // never offset + length: the sum may pass 2^53
  if (request.offset > exp.size || length > exp.size - request.offset) {
    const isGrowth = type === p.NBD_CMD_WRITE || type === p.NBD_CMD_WRITE_ZEROES;
    return {
      errno: isGrowth ? p.NBD_ENOSPC : p.NBD_EINVAL,
      message: `operation past EOF; From: ${offsetText(request)}, Len: ${length}, Size: ${exp.size}`,
    };
  }
  if ((request.flags & ~validFlags) !== 0) {
    return { errno: p.NBD_EINVAL, message: `unsupported flags for command ${p.commandName(type)} (got 0x${request.flags.toString(16)})` };
  }
  if (type === p.NBD_CMD_BLOCK_STATUS) {
    if (!hasContexts) return { errno: p.NBD_EINVAL, message: 'CMD_BLOCK_STATUS not negotiated' };
    if (length === 0) return { errno: p.NBD_EINVAL, message: 'need non-zero length' };
  }
  if (type > p.NBD_CMD_BLOCK_STATUS) return { errno: p.NBD_EINVAL, message: `invalid request type (${type}) received` };
  return undefined;
}
