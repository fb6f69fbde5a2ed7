/*
 * Compiled code of the programs, kept between runs: V8's code caches, a file per file of dist/. One folder comes with dist/
 * for the Node that built it and is trusted as dist/ is. Any other Node makes its own at first run, in the user's cache
 * folder; what lies there counts only when nobody else could have put it there and it is whole. What is missing or wrong is
 * passed over: the program then compiles as ever.
 */
import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, readFileSync, readSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';

/** Says what a file of the user's folder is; then come the length and a sum of what follows, 4 bytes each, little-endian. */
const magic = 0x31434354;
const headerLength = 12;
/** More than any file of ours compiles to. */
const maxLength = 64 * 1024 * 1024;

export interface CodeCache {
  /** What is kept for `file`; undefined when nothing is, or nothing that can be trusted. */
  find(file: string): Buffer | undefined;
  /** Keeps `code` for `file`; fails silently. Absent: nothing is added here. */
  keep?(file: string, code: Buffer): void;
}

/** For which Node code was compiled. */
export const engineKey: string = `node-${process.version}-${process.arch}`;

/** The folder that came with dist/; undefined when another Node built it. */
export function shippedCache(dist: string): CodeCache | undefined {
  const folder = join(dist, 'code-cache', engineKey);
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return undefined;
  return {
    find: (file) => {
      try {
        return readFileSync(join(folder, basename(file)));
      } catch {
        return undefined;
      }
    },
  };
}

/**
 * The folder of this user for the programs whose hash is `programs`, made when it is missing. Undefined when there is none
 * that only this user can write to.
 */
export function userFolder(programs: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const given = env['XDG_CACHE_HOME'];
  const home = env['HOME'];
  const base = given !== undefined && isAbsolute(given) ? given : home !== undefined && isAbsolute(home) ? join(home, '.cache') : undefined;
  if (base === undefined) return undefined;
  try {
    for (const folder of [base, join(base, 'tsimg'), join(base, 'tsimg', `${engineKey}-${programs}`)]) {
      if (!isOurs(lstatSync(folder, { throwIfNoEntry: false }) ?? made(folder), true)) return undefined;
    }
  } catch {
    // no such place, or none that we may write to
    return undefined;
  }
  return join(base, 'tsimg', `${engineKey}-${programs}`);
}

/** What is kept in a folder that `userFolder` gave. */
export function userCache(folder: string): CodeCache {
  return {
    find: (file) => {
      try {
        return readWhole(join(folder, basename(file)));
      } catch {
        return undefined;
      }
    },
    keep: (file, code) => {
      const path = join(folder, basename(file));
      const aside = `${path}.${process.pid}`;
      try {
        write(aside, code);
        renameSync(aside, path);
      } catch {
        try {
          unlinkSync(aside);
        } catch {
          // never made
        }
      }
    },
  };
}

interface Owned {
  readonly uid: number;
  readonly mode: number;
  isDirectory(): boolean;
  isFile(): boolean;
}

/** Whether it belongs to this user and nobody else may write to it. */
function isOurs(found: Owned, isFolder: boolean): boolean {
  return (isFolder ? found.isDirectory() : found.isFile()) && found.uid === process.geteuid?.() && (found.mode & 0o022) === 0;
}

function made(folder: string): Owned {
  mkdirSync(folder, { mode: 0o700 });
  return lstatSync(folder);
}

function readWhole(path: string): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(fd);
    if (!isOurs(found, false) || found.size < headerLength || found.size > maxLength) return undefined;
    const bytes = Buffer.allocUnsafeSlow(found.size);
    if (readSync(fd, bytes, 0, found.size, 0) !== found.size) return undefined;
    const code = bytes.subarray(headerLength);
    const isWhole = bytes.readUInt32LE(0) === magic && bytes.readUInt32LE(4) === code.length && bytes.readUInt32LE(8) === sumOf(code);
    return isWhole ? code : undefined;
  } finally {
    closeSync(fd);
  }
}

function write(path: string, code: Buffer): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    const header = Buffer.alloc(headerLength);
    header.writeUInt32LE(magic, 0);
    header.writeUInt32LE(code.length, 4);
    header.writeUInt32LE(sumOf(code), 8);
    for (const part of [header, code]) {
      for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
    }
  } finally {
    closeSync(fd);
  }
}

/** Tells a torn or damaged file from a whole one; every bit of `code` counts. */
function sumOf(code: Buffer): number {
  const words = code.length >>> 2;
  let sum = 0x811c9dc5;
  if (code.byteOffset % 4 === 0) {
    const list = new Int32Array(code.buffer, code.byteOffset, words);
    for (let i = 0; i < words; i++) sum = Math.imul(sum ^ (list[i] ?? 0), 0x01000193);
  } else {
    for (let i = 0; i < words; i++) sum = Math.imul(sum ^ code.readInt32LE(i * 4), 0x01000193);
  }
  for (let at = words * 4; at < code.length; at++) sum = Math.imul(sum ^ (code[at] ?? 0), 0x01000193);
  return sum >>> 0;
}
