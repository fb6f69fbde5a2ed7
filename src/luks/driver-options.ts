/* Options of the driver `luks`. Rule source: QAPI's BlockdevOptionsLUKS. */
import type { DriverOptionTable } from '../core/block/driver-options.ts';

export const luksDriverOptions: DriverOptionTable = {
  type: 'BlockdevOptionsLUKS',
  base: 'format',
  own: [
    { name: 'key-secret', type: 'string', mayReopen: true, isStrong: true, help: 'id of the secret object with the passphrase' },
    { name: 'header', type: 'node', help: 'the node with the header, where it does not lie in front of the data' },
  ],
};
