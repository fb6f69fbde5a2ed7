/* The file that tells other programs our process id: mode 0600, one line, left behind at exit as the peers' programs do. */
import * as fs from 'node:fs';
import { errnoText } from '../core/util/errno.ts';
import { BlockError } from '../core/util/errors.ts';

/** Writes `pid` to the file at `path`, made or emptied. */
export function writePidFile(path: string, pid: number): void {
  try {
    fs.writeFileSync(path, `${pid}\n`, { mode: 0o600 });
  } catch (error) {
    throw new BlockError(`Could not create '${path}': ${errnoText(error)}`, { cause: error });
  }
}
