/*
 * System calls that Node lacks (native-library.ts): lseek, fallocate, locks, copy_file_range, and the addresses of buffers.
 * Where they are missing, `loadSyscalls` gives undefined and every caller has its way without. Numbers are those of Linux
 * (x86-64 and arm64).
 */
import { native, nativeLibrary } from './native-library.ts';

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;
const F_SETLK = 6;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const ENXIO = 6;
const EAGAIN = 11;
const EACCES = 13;
const BLKROGET = 0x125e;
const BLKSSZGET = 0x1268;
const CDROM_DRIVE_STATUS = 0x5326;
/** The disc that is in now, and the answer that one can be read. */
const CDSL_CURRENT = 0x7fff_ffff;
const CDS_DISC_OK = 4;
/** ENODEV, EBUSY (a device in use), EINVAL, ENOTTY, ENOSYS, EOPNOTSUPP. */
const unsupported: readonly number[] = [19, 16, 22, 25, 38, 95];

/** 0, or the number of an error. */
export type Errno = number;

/** True for errors that mean "not this way": the file system lacks the call, or takes no such range. */
export function cannot(errno: Errno): boolean {
  return unsupported.includes(errno);
}

export interface Syscalls {
  /** Offset of the next data / hole at or after `offset`; -1 when there is none (ENXIO), undefined when unsupported. */
  seekData(fd: number, offset: number): number | undefined;
  seekHole(fd: number, offset: number): number | undefined;
  /** The size as the end's offset (`Errno` as below, negative). Of devices, of which fstat knows none. */
  seekEnd(fd: number): number;
  /** The three kinds of fallocate: done, or the number of the error; `cannot` tells what only means "no such call here". */
  punchHole(fd: number, offset: number, length: number): Errno;
  zeroRange(fd: number, offset: number, length: number): Errno;
  allocate(fd: number, offset: number, length: number): Errno;
  /** Bytes in a sector of a block device; undefined for what is none. */
  sectorSize(fd: number): number | undefined;
  /** Whether a block device takes no writes; undefined for what is none. */
  isReadOnlyDevice(fd: number): boolean | undefined;
  /** Whether a CD-ROM drive has a disc that can be read; undefined for what is no such drive. */
  hasDisc(fd: number): boolean | undefined;
  /** Where a buffer lies in memory. */
  addressOf(buffer: Uint8Array): number;
  /** Takes a lock of this process on a whole file; EAGAIN when another process has it. */
  lockWhole(fd: number): Errno;
  /** Takes a shared lock on one byte. False = somebody holds it exclusively; undefined = not supported. */
  lockShared(fd: number, byte: number): boolean | undefined;
  unlock(fd: number, byte: number): void;
  /** True when another open file description holds a lock that an exclusive one would clash with. */
  isLockedByOther(fd: number, byte: number): boolean;
  /** Ends the process as it stands; threads that are in a system call are not waited for. */
  exitNow(code: number): void;
  /** Bytes copied inside the kernel; 0 when it cannot. */
  copyRange(fromFd: number, from: number, toFd: number, to: number, length: number): number;
}

let loaded: Syscalls | undefined | null = null;

/** The calls, or undefined where koffi or the platform is missing. Loaded once. Throws EMFILE when there is no descriptor left to load them. */
export function loadSyscalls(): Syscalls | undefined {
  if (loaded === null) loaded = load();
  return loaded;
}

/** For tests of the ways without: pretends that nothing is there until the result is disposed. */
export function withoutSyscalls(): Disposable {
  const before = loaded;
  loaded = undefined;
  return {
    [Symbol.dispose]: () => {
      loaded = before;
    },
  };
}

function load(): Syscalls | undefined {
  if (process.platform !== 'linux') return undefined;
  const koffi = native();
  const libc = nativeLibrary('libc.so.6');
  if (koffi === undefined || libc === undefined) return undefined;
  const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
  const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t len)');
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *arg)');
  const ioctlNumber = libc.func('int ioctl(int fd, unsigned long request, intptr_t value)');
  const fcntl = libc.func('int fcntl(int fd, int cmd, void *arg)');
  const exitNow = libc.func('void _exit(int status)');
  const copyFileRange = libc.func('int64_t copy_file_range(int in, _Inout_ int64_t *offIn, int out, _Inout_ int64_t *offOut, size_t len, uint32_t flags)');

  const seek = (fd: number, offset: number, whence: number): number | undefined => {
    const at = Number(lseek(fd, offset, whence));
    if (at >= 0) return at;
    return koffi.errno() === ENXIO ? -1 : undefined;
  };
  const lockBuffer = Buffer.alloc(32);
  const lock = (fd: number, command: number, type: number, byte: number): number => {
    // struct flock: i16 l_type, i16 l_whence, i64 l_start @8, i64 l_len @16, i32 l_pid @24
    lockBuffer.fill(0);
    lockBuffer.writeInt16LE(type, 0);
    lockBuffer.writeInt32LE(byte, 8);
    lockBuffer.writeInt32LE(1, 16);
    return Number(fcntl(fd, command, lockBuffer));
  };
  const fallocated = (fd: number, mode: number, offset: number, length: number): Errno =>
    Number(fallocate(fd, mode, offset, length)) === 0 ? 0 : koffi.errno();
  const integer = Buffer.alloc(4);
  const ask = (fd: number, request: number): number | undefined => (Number(ioctl(fd, request, integer)) === 0 ? integer.readInt32LE(0) : undefined);
  const wholeFile = Buffer.alloc(32);
  // struct flock with l_start and l_len 0: all of it
  wholeFile.writeInt16LE(F_WRLCK, 0);

  return {
    seekEnd: (fd) => {
      const at = Number(lseek(fd, 0, SEEK_END));
      return at >= 0 ? at : -koffi.errno();
    },
    sectorSize: (fd) => ask(fd, BLKSSZGET),
    isReadOnlyDevice: (fd) => {
      const answer = ask(fd, BLKROGET);
      return answer === undefined ? undefined : answer !== 0;
    },
    hasDisc: (fd) => {
      const status = Number(ioctlNumber(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT));
      return status < 0 ? undefined : status === CDS_DISC_OK;
    },
    addressOf: (buffer) => Number(koffi.address(buffer)),
    lockWhole: (fd) => (Number(fcntl(fd, F_SETLK, wholeFile)) === 0 ? 0 : koffi.errno()),
    seekData: (fd, offset) => seek(fd, offset, SEEK_DATA),
    seekHole: (fd, offset) => seek(fd, offset, SEEK_HOLE),
    punchHole: (fd, offset, length) => fallocated(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length),
    zeroRange: (fd, offset, length) => fallocated(fd, FALLOC_FL_ZERO_RANGE, offset, length),
    allocate: (fd, offset, length) => fallocated(fd, 0, offset, length),
    lockShared: (fd, byte) => {
      if (lock(fd, F_OFD_SETLK, F_RDLCK, byte) === 0) return true;
      const errno = koffi.errno();
      return errno === EAGAIN || errno === EACCES ? false : undefined;
    },
    unlock: (fd, byte) => {
      lock(fd, F_OFD_SETLK, F_UNLCK, byte);
    },
    isLockedByOther: (fd, byte) => {
      if (lock(fd, F_OFD_GETLK, F_WRLCK, byte) !== 0) return false;
      return lockBuffer.readInt16LE(0) !== F_UNLCK;
    },
    exitNow: (code) => void exitNow(code),
    copyRange: (fromFd, from, toFd, to, length) => {
      const copied = Number(copyFileRange(fromFd, [from], toFd, [to], length, 0));
      return Math.max(0, copied);
    },
  };
}
