/* Whether two names lead to the same file. Rule source: realpath(3). */
import { realpathSync } from 'node:fs';
import { systemName } from '../util/name-codec.ts';

/** Where a name leads in the end, links followed; undefined for what is not there. */
export function realPath(name: string): string | undefined {
  try {
    return realpathSync(systemName(name), 'buffer').toString('latin1');
  } catch {
    return undefined;
  }
}
