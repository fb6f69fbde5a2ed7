import { truncateSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { withLoop } from '../system.ts';

/** Devices cannot be resized or preallocated, and it is said so. */
const fault: Fault = {
  name: 'device-keeps-its-size',
  kind: 'devices',
  needsRoot: true,
  expected:
    "Cannot resize device files | Cannot resize device files | Preallocation mode 'full' unsupported for this non-regular file | Unsupported preallocation mode 'full'",
  play: async (stage) => {
    writeFileSync(stage.path('disk'), '');
    truncateSync(stage.path('disk'), 8 << 20);
    return withLoop(stage, 'disk', 512, async (device) => {
      const told: string[] = [];
      for (const words of [
        ['resize', '--shrink', '-f', 'raw', device, '4M'],
        ['resize', '-f', 'raw', device, '9M'],
        ['resize', '--preallocation=full', '-f', 'raw', device, '9M'],
        ['create', '-q', '-f', 'raw', '-o', 'preallocation=full', device, '4M'],
      ]) {
        const { stderr, stdout } = await stage.run('tsimg', words);
        told.push((stderr || stdout).trim().replace(/^tsimg: (?:\/dev\/\w+: )?/, ''));
      }
      return told.join(' | ');
    });
  },
};
export default fault;
