/*
 * Libraries of the system, through koffi, which is optional. The only file that knows koffi; loaded at first need (3 ms). Where
 * it or the library is missing every caller has its way without.
 */
import { errnoCode, errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';

export interface NativeFunction {
  (...args: unknown[]): unknown;
  /** The same in the thread pool; the last argument takes an error or null, and the result. Buffers are the caller's again then. */
  async(...args: unknown[]): void;
}

export interface NativeLibrary {
  /** The function with this C declaration. Throws when the library has none. */
  func(declaration: string): NativeFunction;
}

export interface Native {
  load(name: string): NativeLibrary;
  /** The C library's errno after a call. */
  errno(): number;
  address(pointer: unknown): bigint;
}

let loaded: Native | undefined | null = null;

/** koffi, or undefined where it is not installed. Throws EMFILE when there is no descriptor left to load it. */
export function native(): Native | undefined {
  if (loaded === null) loaded = orMissing(find);
  return loaded;
}

/** A library by its file's name, or undefined where it or koffi is missing. Throws EMFILE as `native` does. */
export function nativeLibrary(name: string): NativeLibrary | undefined {
  const koffi = native();
  return koffi === undefined ? undefined : orMissing(() => koffi.load(name));
}

function orMissing<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch (error) {
    // for want of descriptors now: what is there must not be taken for missing
    if (isExhausted(error)) throw new BlockError(errnoText('EMFILE'), { code: 'EMFILE', cause: error });
    return undefined;
  }
}

function isExhausted(error: unknown): boolean {
  const code = errnoCode(error);
  return code === 'EMFILE' || code === 'ENFILE' || (error instanceof Error && error.message.includes(errnoText('EMFILE')));
}

/**
 * The binary of koffi's package for this machine, whose own way to it takes 7 ms: it asks which C library there is, and wraps
 * names that are out of use. Where it lies elsewhere, koffi finds it.
 */
function find(): Native {
  const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
  const machine = `${process.platform}-${process.arch}`;
  try {
    return require(`@koromix/koffi-${machine}/${machine.replace('-', '_')}/koffi.node`) as Native;
  } catch (error) {
    if (isExhausted(error)) throw error;
    return require('koffi') as Native;
  }
}
