/* Options of the filter `throttle`. Rule source: QAPI's BlockdevOptionsThrottle. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const throttleOptions: DriverOptionTable = {
  type: 'BlockdevOptionsThrottle',
  base: 'protocol',
  own: [
    { name: 'throttle-group', type: 'string', isRequired: true, isStrong: true, mayReopen: true, help: 'the object that has the limits' },
    { name: 'file', type: 'node', isRequired: true, help: 'the node that is limited' },
  ],
};
