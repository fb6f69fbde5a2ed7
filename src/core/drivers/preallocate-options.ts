/* Options of the filter `preallocate`. Rule source: QAPI's BlockdevOptionsPreallocate. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const preallocateOptions: DriverOptionTable = {
  type: 'BlockdevOptionsPreallocate',
  base: 'format',
  own: [
    { name: 'prealloc-align', type: 'int', default: 1048576, mayReopen: true, help: 'the end of what is preallocated is a multiple of it' },
    { name: 'prealloc-size', type: 'int', default: 134217728, mayReopen: true, help: 'how much is preallocated at once' },
  ],
};
