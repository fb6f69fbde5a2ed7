/*
 * Numbers of the NBD protocol, spelled as the protocol document spells them, and the limits that we hold to.
 * Knows no bytes, no socket and no image. Source: the NBD protocol document, "Protocol phases" and "Values".
 */
import { errnoCode } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';

/** Magics as u32 halves: the first eight bytes of a connection and of every option. */
export const NBDMAGIC = [0x4e42444d, 0x41474943] as const;
export const IHAVEOPT = [0x49484156, 0x454f5054] as const;
export const NBD_REP_MAGIC = [0x0003e889, 0x045565a9] as const;
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const NBD_FLAG_FIXED_NEWSTYLE = 1;
export const NBD_FLAG_NO_ZEROES = 2;
export const NBD_FLAG_C_FIXED_NEWSTYLE = 1;
export const NBD_FLAG_C_NO_ZEROES = 2;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
export const NBD_REP_ERR_UNSUP = 0x80000001;
export const NBD_REP_ERR_POLICY = 0x80000002;
export const NBD_REP_ERR_INVALID = 0x80000003;
export const NBD_REP_ERR_UNKNOWN = 0x80000006;
export const NBD_REP_ERR_BLOCK_SIZE_REQD = 0x80000008;

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_DESCRIPTION = 2;
export const NBD_INFO_BLOCK_SIZE = 3;

export const NBD_FLAG_HAS_FLAGS = 0x1;
export const NBD_FLAG_READ_ONLY = 0x2;
export const NBD_FLAG_SEND_FLUSH = 0x4;
export const NBD_FLAG_SEND_FUA = 0x8;
export const NBD_FLAG_SEND_TRIM = 0x20;
export const NBD_FLAG_SEND_WRITE_ZEROES = 0x40;
export const NBD_FLAG_SEND_DF = 0x80;
export const NBD_FLAG_CAN_MULTI_CONN = 0x100;
export const NBD_FLAG_SEND_CACHE = 0x400;
export const NBD_FLAG_SEND_FAST_ZERO = 0x800;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_CACHE = 5;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

export const NBD_CMD_FLAG_FUA = 1;
export const NBD_CMD_FLAG_NO_HOLE = 2;
export const NBD_CMD_FLAG_DF = 4;
export const NBD_CMD_FLAG_REQ_ONE = 8;
export const NBD_CMD_FLAG_FAST_ZERO = 16;

export const NBD_REPLY_FLAG_DONE = 1;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_ERROR = 0x8001;

export const NBD_EPERM = 1;
const NBD_EIO = 5;
const NBD_ENOMEM = 12;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
const NBD_EOVERFLOW = 75;
const NBD_ENOTSUP = 95;
const NBD_ESHUTDOWN = 108;

export const NBD_STATE_HOLE = 1;
export const NBD_STATE_ZERO = 2;

export const NBD_DEFAULT_PORT = 10809;
/** Longest export name, description and meta context query, in bytes. */
export const NBD_MAX_STRING_SIZE = 4096;
/** Longest payload of a request or a reply, and longest option. */
export const NBD_MAX_BUFFER_SIZE = 33554432;
/** Most extents in one block status reply. */
export const NBD_MAX_BLOCK_STATUS_EXTENTS = 131072;
/** The block size a client should prefer (advertised, never enforced). */
export const NBD_PREFERRED_BLOCK_SIZE = 4096;

/** The option's name in messages of the server. */
export function optionName(option: number): string {
  switch (option) {
    case NBD_OPT_EXPORT_NAME:
      return 'export name';
    case NBD_OPT_ABORT:
      return 'abort';
    case NBD_OPT_LIST:
      return 'list';
    case NBD_OPT_STARTTLS:
      return 'starttls';
    case NBD_OPT_INFO:
      return 'info';
    case NBD_OPT_GO:
      return 'go';
    case NBD_OPT_STRUCTURED_REPLY:
      return 'structured reply';
    case NBD_OPT_LIST_META_CONTEXT:
      return 'list meta context';
    case NBD_OPT_SET_META_CONTEXT:
      return 'set meta context';
    default:
      return '<unknown>';
  }
}

const commandNames: readonly string[] = ['read', 'write', 'disconnect', 'flush', 'trim', 'cache', 'write zeroes', 'block status'];

/** The command's name in messages of the server. */
export function commandName(type: number): string {
  return commandNames[type] ?? '<unknown>';
}

/** The protocol's error number for an error of the block layer: few are defined, everything else is EINVAL. */
export function nbdErrno(error: unknown): number {
  const code = error instanceof BlockError ? error.code : errnoCode(error);
  switch (code) {
    case 'EPERM':
    case 'EACCES':
    case 'EROFS':
      return NBD_EPERM;
    case 'EIO':
    case 'ERR_CORRUPT':
    case 'ERR_INTERNAL':
      return NBD_EIO;
    case 'ENOMEM':
      return NBD_ENOMEM;
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return NBD_ENOSPC;
    case 'EOVERFLOW':
      return NBD_EOVERFLOW;
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
      return NBD_ENOTSUP;
    case 'ESHUTDOWN':
      return NBD_ESHUTDOWN;
    default:
      return NBD_EINVAL;
  }
}

/** False for what neither the block layer nor the system says: a bug of ours, which is no answer to anybody. */
export function isForeseen(error: unknown): boolean {
  return error instanceof BlockError || errnoCode(error) !== undefined;
}
