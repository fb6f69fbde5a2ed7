/*
 * I/O threads by name. Everything here runs in one thread: the name is what devices, exports and nodes ask for, the
 * settings are checked and kept. Rule source: observed behaviour of QEMU 11.1.
 */
import { BlockError } from '../util/errors.ts';
import { exact, int64, optional, struct } from '../util/schema.ts';
import { type AnyObjectType, defineObjectType, type UserObject } from './object.ts';

const setting = optional(exact(int64));

const properties = struct('IothreadProperties', {
  'aio-max-batch': setting,
  'thread-pool-min': setting,
  'thread-pool-max': setting,
  'poll-max-ns': setting,
  'poll-grow': setting,
  'poll-shrink': setting,
  'poll-weight': setting,
});

const maxInt64 = 9223372036854775807n;
const defaultPoolSize = 64n;
/** QEMU counts threads in an int. */
const maxPoolSize = 0x7fff_ffffn;

/** Removing one leaves its users what they have, as in QEMU. */
export class IoThread implements UserObject {
  readonly qomType = 'iothread';
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }
}

export const iothreadType: AnyObjectType = defineObjectType({
  name: 'iothread',
  properties,
  check: (given) => {
    for (const [name, value = 0n] of Object.entries(given)) {
      if (value < 0n) throw new BlockError(`${name} value must be in range [0, ${maxInt64}]`, { code: 'EINVAL' });
    }
  },
  make: (id, given) => {
    const most = given['thread-pool-max'] ?? defaultPoolSize;
    if ((given['thread-pool-min'] ?? 0n) > most || most === 0n || most > maxPoolSize)
      throw new BlockError('bad thread-pool-min/thread-pool-max values', { code: 'EINVAL' });
    return new IoThread(id);
  },
});
