import { statSync, truncateSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** Whatever is missing of descriptors: an image that another program serves is never shrunk. */
const fault: Fault = {
  name: 'lock-without-descriptors',
  kind: 'locks',
  expected: 'resized with 0 of 20 limits; refused by its lock at the end; 4194304 bytes',
  play: async (stage) => {
    writeFileSync(stage.path('r'), '');
    truncateSync(stage.path('r'), 4 << 20);
    const [node, tsnbd] = stage.command('tsnbd');
    stage.start(node, [tsnbd, '-t', '-f', 'raw', '-k', stage.path('s'), '--pid-file', 'pid', 'r']);
    while ((statSync(stage.path('pid'), { throwIfNoEntry: false })?.size ?? 0) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const [, tsimg] = stage.command('tsimg');
    let resized = 0;
    let last = '';
    for (let limit = 13; limit < 33; limit++) {
      const { code, stderr } = await stage.exec('bash', ['-c', `ulimit -n ${limit}; '${node}' '${tsimg}' resize --shrink -f raw r 1M`]);
      if (code === 0) resized++;
      last = stderr;
    }
    const why = last.includes('Failed to get "resize" lock') ? 'refused by its lock' : last.trim();
    return `resized with ${resized} of 20 limits; ${why} at the end; ${statSync(stage.path('r')).size} bytes`;
  },
};
export default fault;
