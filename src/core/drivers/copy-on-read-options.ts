/* Options of the filter `copy-on-read`. Rule source: QAPI's BlockdevOptionsCor. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const copyOnReadOptions: DriverOptionTable = {
  type: 'BlockdevOptionsCor',
  base: 'format',
  own: [{ name: 'bottom', type: 'string', help: 'the lowest node whose data are copied; without it those of all nodes below the image' }],
};
