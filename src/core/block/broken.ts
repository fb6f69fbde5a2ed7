/* What stands in for the driver of a node that a bug left in an unknown state: every request fails, the end still works. */
import { BlockError } from '../util/errors.ts';
import { internalErrorText } from '../util/internal-error.ts';
import type { DriverState, Limits, ReqFlags } from './driver.ts';

export class BrokenState implements DriverState {
  readonly limits: Limits;
  readonly writeFlags: ReqFlags;
  readonly #error: BlockError;
  readonly #size: number;
  readonly #close: () => Promise<void>;

  constructor(name: string, state: DriverState, cause: unknown) {
    this.limits = state.limits;
    this.writeFlags = state.writeFlags;
    this.#size = sizeOf(state);
    this.#close = () => state.close();
    this.#error = new BlockError(`Node '${name}' is broken: ${internalErrorText(cause)}`, { code: 'EIO', cause });
    if (state.permUpdate !== undefined) this.permUpdate = (held, unshared) => state.permUpdate?.(held, unshared) ?? { commit: () => {}, abort: () => {} };
  }

  /** Locks stay as they are meant to be: nobody else must come near it. */
  readonly permUpdate?: NonNullable<DriverState['permUpdate']>;

  size(): number {
    return this.#size;
  }

  read(): never {
    throw this.#error;
  }

  write(): never {
    throw this.#error;
  }

  zero(): never {
    throw this.#error;
  }

  discard(): never {
    throw this.#error;
  }

  flush(): never {
    throw this.#error;
  }

  status(): never {
    throw this.#error;
  }

  async truncate(): Promise<never> {
    throw this.#error;
  }

  close(): Promise<void> {
    return this.#close();
  }
}

function sizeOf(state: DriverState): number {
  try {
    return state.size();
  } catch {
    return 0;
  }
}
