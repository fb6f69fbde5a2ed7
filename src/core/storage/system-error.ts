/* Errors of the system as ours: errno name, and the C library's wording. Knows no operation. */
import { errnoCode, errnoName, errnoText, isErrnoName } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';

/** Our error for one that Node threw; one of ours stays as it is. Throws what is no error of the system. */
export function systemError(error: unknown, context = ''): BlockError {
  if (error instanceof BlockError) return context === '' ? error : error.prepend(context);
  const code = errnoCode(error);
  if (code === undefined) throw error;
  return new BlockError(context + errnoText(code), { code, cause: error });
}

/** Our error for an error number of a system call. */
export function systemFailure(errno: number, context = ''): BlockError {
  const code = errnoName(errno);
  return new BlockError(context + errnoText(errno), { code: code !== undefined && isErrnoName(code) ? code : 'EIO' });
}
