/*
 * Whether somebody listens at a unix socket, without connecting to it. Its file is there from the bind on, and a client that
 * comes before the listen is refused: on a busy machine tests met that.
 */
import { existsSync, readFileSync } from 'node:fs';

/** The kernel's mark of sockets that accept connections (`__SO_ACCEPTCON`). */
const accepts = '00010000';

/** True once a server listens at `path`, as it was bound. Where the kernel has no list, the file has to do. */
export function isListening(path: string): boolean {
  if (!existsSync(path)) return false;
  let list: string;
  try {
    list = readFileSync('/proc/net/unix', 'utf8');
  } catch {
    return true;
  }
  const own = list.split('\n').filter((line) => line.endsWith(` ${path}`));
  // bound by another name: the list does not tell
  return own.length === 0 || own.some((line) => line.split(/\s+/)[3] === accepts);
}

/** Settles once somebody listens at `path`. */
export async function listening(path: string): Promise<void> {
  while (!isListening(path)) await new Promise((resolve) => setImmediate(resolve));
}
