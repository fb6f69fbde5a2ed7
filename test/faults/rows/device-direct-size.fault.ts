import { statSync, truncateSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { withLoop } from '../system.ts';

/** A block device opened past the page cache has its size, whatever its sectors: not an empty copy with exit code 0. */
const fault: Fault = {
  name: 'device-direct-size',
  kind: 'devices',
  needsRoot: true,
  expected: '512: exit 0, 8388608 bytes; 4096: exit 0, 8388608 bytes',
  play: async (stage) => {
    writeFileSync(stage.path('disk'), '');
    truncateSync(stage.path('disk'), 8 << 20);
    const told: string[] = [];
    for (const sector of [512, 4096]) {
      await withLoop(stage, 'disk', sector, async (device) => {
        const { code } = await stage.run('tsimg', ['convert', '-T', 'none', '-f', 'raw', '-O', 'raw', device, `copy${sector}`]);
        told.push(`${sector}: exit ${code}, ${statSync(stage.path(`copy${sector}`)).size} bytes`);
      });
    }
    return told.join('; ');
  },
};
export default fault;
