/* Cache modes by the names that command lines give them. */
import { meantValue } from '../util/did-you-mean.ts';
import { BlockError } from '../util/errors.ts';

export interface CacheMode {
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** Every write is flushed. */
  readonly writeThrough: boolean;
}

const cacheModes: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writeThrough: false },
  off: { direct: true, noFlush: false, writeThrough: false },
  directsync: { direct: true, noFlush: false, writeThrough: true },
  writeback: { direct: false, noFlush: false, writeThrough: false },
  writethrough: { direct: false, noFlush: false, writeThrough: true },
  unsafe: { direct: false, noFlush: true, writeThrough: false },
};

/** For completion. */
export const cacheNames: readonly string[] = Object.keys(cacheModes);

/** A cache mode by name; `what` is the start of the error. */
export function parseCache(name: string | undefined, what: string, byDefault = 'writeback'): CacheMode {
  const mode = Object.hasOwn(cacheModes, name ?? byDefault) ? cacheModes[name ?? byDefault] : undefined;
  if (mode === undefined) throw new BlockError(`${what}: ${name ?? byDefault}`, { code: 'ERR_USAGE', hint: meantValue(name ?? byDefault, cacheNames) });
  return mode;
}
