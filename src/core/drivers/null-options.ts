/* Options of the drivers `null-co` and `null-aio`. Rule source: QAPI's BlockdevOptionsNull. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const nullDriverOptions: DriverOptionTable = {
  type: 'BlockdevOptionsNull',
  base: 'protocol',
  own: [
    { name: 'size', type: 'int', isStrong: true, help: 'size of the disk (default: 1 GiB)' },
    { name: 'latency-ns', type: 'size', mayReopen: true, help: 'nanoseconds that every request takes' },
    { name: 'read-zeroes', type: 'bool', default: false, isStrong: true, mayReopen: true, help: 'reads give zeros; else they give anything' },
  ],
};
