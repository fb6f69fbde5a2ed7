/* Options of an open qcow2 image. Rule source: QAPI's BlockdevOptionsQcow2. */
import type { DriverOption, DriverOptionTable, EnumType } from '../core/block/driver-options.ts';

const overlapMode: EnumType = { enum: 'Qcow2OverlapCheckMode', values: ['none', 'constant', 'cached', 'all'] };
const isChecked = (name: string): DriverOption => ({ name, type: 'bool', mayReopen: true, help: 'check writes against it' });
const secret: DriverOption = { name: 'key-secret', type: 'string', mayReopen: true, help: 'id of the secret object with the passphrase' };

export const qcow2DriverOptions: DriverOptionTable = {
  type: 'BlockdevOptionsQcow2',
  base: 'cow format',
  own: [
    { name: 'lazy-refcounts', type: 'bool', mayReopen: true, help: 'keep refcounts in memory until the image is closed' },
    { name: 'pass-discard-request', type: 'bool', mayReopen: true, help: "a guest's discards reach the file (default: as discard=)" },
    { name: 'pass-discard-snapshot', type: 'bool', default: true, mayReopen: true, help: 'what a deleted snapshot held is discarded' },
    { name: 'pass-discard-other', type: 'bool', default: false, mayReopen: true, help: 'other freed clusters are discarded' },
    { name: 'discard-no-unref', type: 'bool', default: false, mayReopen: true, help: 'discarded clusters stay taken' },
    {
      name: 'overlap-check',
      type: {
        alternate: 'Qcow2OverlapChecks',
        object: {
          struct: 'Qcow2OverlapCheckFlags',
          members: [
            { name: 'template', type: overlapMode, mayReopen: true, help: 'what the others are by default' },
            isChecked('main-header'),
            isChecked('active-l1'),
            isChecked('active-l2'),
            isChecked('refcount-table'),
            isChecked('refcount-block'),
            isChecked('snapshot-table'),
            isChecked('inactive-l1'),
            isChecked('inactive-l2'),
            isChecked('bitmap-directory'),
          ],
        },
        string: overlapMode,
      },
      mayReopen: true,
      help: 'against which metadata writes are checked (default: cached)',
    },
    { name: 'cache-size', type: 'int', mayReopen: true, help: 'bytes for tables in memory' },
    { name: 'l2-cache-size', type: 'int', mayReopen: true, help: 'bytes for L2 tables' },
    { name: 'l2-cache-entry-size', type: 'int', mayReopen: true, help: 'bytes of an L2 table read at once' },
    { name: 'refcount-cache-size', type: 'int', mayReopen: true, help: 'bytes for refcount blocks' },
    { name: 'cache-clean-interval', type: 'int', mayReopen: true, help: 'seconds after which unused tables are dropped' },
    {
      name: 'encrypt',
      type: {
        union: 'BlockdevQcow2Encryption',
        tag: { name: 'format', enum: 'BlockdevQcow2EncryptionFormat', values: ['aes', 'luks'] },
        branches: { aes: { struct: 'QCryptoBlockOptionsQCow', members: [secret] }, luks: { struct: 'QCryptoBlockOptionsLUKS', members: [secret] } },
      },
      help: 'how the image is encrypted',
    },
    { name: 'data-file', type: 'node', help: 'the node with the data, where they are not in the image' },
  ],
};
