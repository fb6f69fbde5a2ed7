/* Options of the drivers `file`, `host_device` and `host_cdrom`. Rule source: QAPI's BlockdevOptionsFile. */
import type { DriverOptionTable } from '../block/driver-options.ts';

export const fileDriverOptions: DriverOptionTable = {
  type: 'BlockdevOptionsFile',
  base: 'protocol',
  features: ['dynamic-auto-read-only'],
  own: [
    { name: 'filename', type: 'string', isRequired: true, isStrong: true, help: 'path of the file or device' },
    { name: 'pr-manager', type: 'string', help: 'id of a helper for persistent reservations' },
    {
      name: 'locking',
      type: { enum: 'OnOffAuto', values: ['auto', 'on', 'off'] },
      default: 'auto',
      mayReopen: true,
      help: 'image locks against other programs',
    },
    {
      name: 'aio',
      type: { enum: 'BlockdevAioOptions', values: ['threads', 'native', 'io_uring'] },
      default: 'threads',
      mayReopen: true,
      help: 'how the host is asked',
    },
    { name: 'aio-max-batch', type: 'int', mayReopen: true, help: 'most requests handed over at once' },
    { name: 'drop-cache', type: 'bool', default: true, mayReopen: true, help: "drop the host's cache when a disk moves to another host" },
    { name: 'x-check-cache-dropped', type: 'bool', default: false, mayReopen: true, features: ['unstable'], help: 'check that the cache was dropped' },
  ],
};
