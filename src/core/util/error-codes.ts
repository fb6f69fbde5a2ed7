/*
 * The closed union of codes that an error carries: the name of a system error, where the system or a medium said so or would
 * say so, else one of ours, which tell programs what went wrong where many messages mean the same. docs/error-codes.md lists
 * ours; a test compares both ways.
 */
import type { ErrnoName } from './errno.ts';

export type OwnErrorCode =
  | 'ERR_USAGE'
  | 'ERR_PARSE'
  | 'ERR_OPTION'
  | 'ERR_NAME'
  | 'ERR_NOT_FOUND'
  | 'ERR_IN_USE'
  | 'ERR_STATE'
  | 'ERR_FORMAT'
  | 'ERR_CORRUPT'
  | 'ERR_PROTOCOL'
  | 'ERR_ABSENT'
  | 'ERR_INTERNAL';
export type ErrorCode = ErrnoName | OwnErrorCode;

/** Codes of our own and when an error carries them. */
export const ownErrorCodes: Readonly<Record<OwnErrorCode, string>> = {
  ERR_USAGE: 'a command line or a line of the shell is not used as it must be',
  ERR_PARSE: 'a text (JSON, options, a size, a name with a protocol) cannot be read',
  ERR_OPTION: 'an option is unknown, missing, of another type, out of range, or in conflict with another',
  ERR_NAME: 'a name or an id is malformed or taken',
  ERR_NOT_FOUND: 'no node, device, job, export, object, bitmap or snapshot has the name that was given',
  ERR_IN_USE: 'somebody uses what was to be changed, taken or removed, and does not share it',
  ERR_STATE: 'what was asked for is not possible in the present state of its subject',
  ERR_FORMAT: 'an image is not of its format, or its header says what the format does not allow',
  ERR_CORRUPT: 'metadata of an image contradict themselves or each other',
  ERR_PROTOCOL: 'the other side of a connection said what the protocol does not allow',
  ERR_ABSENT: 'QEMU has it and this version has not',
  ERR_INTERNAL: 'a bug of ours: one command failed by it, and everything else goes on',
};
