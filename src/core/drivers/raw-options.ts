/* Options of the driver `raw`. Rule source: QAPI's BlockdevOptionsRaw. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const rawDriverOptions: DriverOptionTable = {
  type: 'BlockdevOptionsRaw',
  base: 'format',
  own: [
    { name: 'offset', type: 'int', isStrong: true, mayReopen: true, help: 'where the disk begins in the file' },
    { name: 'size', type: 'int', isStrong: true, mayReopen: true, help: 'size of the disk; a multiple of 512' },
  ],
};
