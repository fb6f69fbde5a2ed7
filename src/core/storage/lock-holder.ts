/*
 * Who holds a lock on a byte of a file, as far as /proc shows it: the processes of the same user. For hints only: what
 * cannot be read is passed over. Knows no meaning of a byte. Rule source: proc_pid_fdinfo(5).
 */
import { type BigIntStats, fstatSync, readdirSync, readFileSync, statSync } from 'node:fs';

export interface LockHolder {
  readonly pid: number;
  /** Its name, of a script the script's. */
  readonly command: string;
}

/** Who holds a lock on `byte` of the file behind `fd` through another descriptor than that one; other processes come first. */
export function findLockHolder(fd: number, byte: number): LockHolder | 'this program' | undefined {
  const own = String(process.pid);
  try {
    const file = fstatSync(fd, { bigint: true });
    const pid = readdirSync('/proc').find((name) => /^\d+$/.test(name) && name !== own && holds(name, file, byte));
    if (pid !== undefined) return { pid: Number(pid), command: commandOf(pid) };
    return holds(own, file, byte, String(fd)) ? 'this program' : undefined;
  } catch {
    // no /proc here: nothing to tell, the lock error stands for itself
    return undefined;
  }
}

function holds(pid: string, file: BigIntStats, byte: number, exceptFd?: string): boolean {
  return listFds(pid).some((fd) => fd !== exceptFd && showsLock(readText(`/proc/${pid}/fdinfo/${fd}`), byte) && isSameFile(`/proc/${pid}/fd/${fd}`, file));
}

/** `lock:	1: OFDLCK ADVISORY READ -1 08:01:1234 100 100`; flock's locks stand beside these and keep nobody out. */
function showsLock(info: string, byte: number): boolean {
  return info.split('\n').some((line) => {
    if (!line.startsWith('lock:') || line.includes('FLOCK')) return false;
    const [start, end] = line.trim().split(/\s+/).slice(-2);
    return Number(start) <= byte && (end === 'EOF' || Number(end) >= byte);
  });
}

function isSameFile(path: string, file: BigIntStats): boolean {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return dev === file.dev && ino === file.ino;
  } catch {
    // closed meanwhile
    return false;
  }
}

/** Of a script that Node runs the script's name: `tsqmp`, and not `node`, which tells nothing. */
function commandOf(pid: string): string {
  const [program = '', script = ''] = readText(`/proc/${pid}/cmdline`).split('\0');
  const isScript = /(?:^|\/)node\d*$/.test(program) && script !== '' && !script.startsWith('-');
  return baseName(isScript ? script.replace(/\.[cm]?js$/, '') : program);
}

function baseName(path: string): string {
  return path.replace(/^.*\//, '');
}

function listFds(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fdinfo`);
  } catch {
    // another user's process, or it has ended
    return [];
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // as above
    return '';
  }
}
