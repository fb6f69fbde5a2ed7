import { mkdirSync, rmSync, statSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { withTmpfs } from '../system.ts';

/** A growth that finds no space leaves the size and the space as they were, and says which step failed. */
const fault: Fault = {
  name: 'enospc-in-preallocation',
  kind: 'ENOSPC',
  needsRoot: true,
  expected:
    'falloc: Could not preallocate new data: No space left on device, 1048576 bytes; ' +
    'full: Could not write zeros for preallocation: No space left on device, 1048576 bytes; ' +
    'create: n.raw: Could not write zeros for preallocation: No space left on device, 0 bytes in 0 blocks',
  play: async (stage) => {
    mkdirSync(stage.path('m'));
    return withTmpfs(stage, 'm', '4M', async () => {
      const told: string[] = [];
      for (const mode of ['falloc', 'full']) {
        await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'm/r.raw', '1M']);
        const { stderr } = await stage.run('tsimg', ['resize', `--preallocation=${mode}`, '-f', 'raw', 'm/r.raw', '8M']);
        told.push(`${mode}: ${stderr.trim().replace('tsimg: ', '')}, ${statSync(stage.path('m/r.raw')).size} bytes`);
        rmSync(stage.path('m/r.raw'));
      }
      const { stderr } = await stage.run('tsimg', ['create', '-q', '-f', 'raw', '-o', 'preallocation=full', 'm/n.raw', '8M']);
      const { size, blocks } = statSync(stage.path('m/n.raw'));
      told.push(`create: ${stderr.trim().replace('tsimg: m/', '')}, ${size} bytes in ${blocks} blocks`);
      return told.join('; ');
    });
  },
};
export default fault;
