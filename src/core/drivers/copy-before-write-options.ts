/* Options of the filter `copy-before-write`. Rule source: QAPI's BlockdevOptionsCbw. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const copyBeforeWriteOptions: DriverOptionTable = {
  type: 'BlockdevOptionsCbw',
  base: 'format',
  own: [
    { name: 'target', type: 'node', isRequired: true, help: 'where old data go' },
    {
      name: 'bitmap',
      type: {
        struct: 'BlockDirtyBitmap',
        members: [
          { name: 'node', type: 'string', isRequired: true, help: 'the node that has it' },
          { name: 'name', type: 'string', isRequired: true, help: 'its name' },
        ],
      },
      help: 'save only what this dirty bitmap marks',
    },
    {
      name: 'on-cbw-error',
      type: { enum: 'OnCbwError', values: ['break-guest-write', 'break-snapshot'] },
      default: 'break-guest-write',
      help: 'what fails when old data cannot be saved',
    },
    { name: 'cbw-timeout', type: 'uint32', default: 0, help: "seconds that a guest's write waits for a copy; 0 = for ever" },
    { name: 'min-cluster-size', type: 'size', help: 'least unit of copying, a power of two' },
  ],
};
