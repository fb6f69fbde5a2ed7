/* Options of the driver `quorum`. Rule source: QAPI's BlockdevOptionsQuorum. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const readPatterns = ['quorum', 'fifo'] as const;

export const quorumOptions: DriverOptionTable = {
  type: 'BlockdevOptionsQuorum',
  base: 'protocol',
  own: [
    { name: 'blkverify', type: 'bool', isStrong: true, help: 'two children, and the program ends when they differ' },
    { name: 'children', type: { list: 'node' }, isRequired: true, help: 'the nodes that vote' },
    { name: 'vote-threshold', type: 'int', isRequired: true, isStrong: true, help: 'how many have to agree' },
    { name: 'rewrite-corrupted', type: 'bool', isStrong: true, help: 'children that were outvoted are written over' },
    { name: 'read-pattern', type: { enum: 'QuorumReadPattern', values: readPatterns }, isStrong: true, help: 'ask all children, or one after another' },
  ],
};
