/* Options of the driver `blklogwrites`. Rule source: QAPI's BlockdevOptionsBlklogwrites. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const blklogwritesOptions: DriverOptionTable = {
  type: 'BlockdevOptionsBlklogwrites',
  base: 'protocol',
  own: [
    { name: 'file', type: 'node', isRequired: true, help: 'the node below' },
    { name: 'log', type: 'node', isRequired: true, help: 'the node that takes the log' },
    { name: 'log-sector-size', type: 'uint32', isStrong: true, help: 'unit of the log, a power of two; 512 by default' },
    { name: 'log-append', type: 'bool', default: false, isStrong: true, help: 'go on with the log that is there' },
    { name: 'log-super-update-interval', type: 'int', default: 4096, help: 'entries between two updates of the head; 4096 by default' },
  ],
};
