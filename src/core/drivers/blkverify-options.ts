/* Options of the driver `blkverify`. Rule source: QAPI's BlockdevOptionsBlkverify. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const blkverifyOptions: DriverOptionTable = {
  type: 'BlockdevOptionsBlkverify',
  base: 'protocol',
  own: [
    { name: 'test', type: 'node', isRequired: true, help: 'the node that is to be verified' },
    { name: 'raw', type: 'node', isRequired: true, help: 'the node with what it should hold' },
  ],
};
