import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { told } from '../stage.ts';

/** What holds no bytes is no disk: neither an empty one nor one that everybody waits for. */
const fault: Fault = {
  name: 'pipe-as-disk',
  kind: 'opening',
  expected:
    "'file' driver requires 'f' to be a regular file; other answers ok; " +
    "/proc/version: exit 1, Could not open '/proc/version': Could not refresh total sector count: Invalid argument, nothing made",
  play: async (stage) => {
    execFileSync('mkfifo', [stage.path('f')]);
    const daemon = await stage.daemon();
    const pending = daemon.execute('blockdev-add', { driver: 'file', 'node-name': 'f', filename: 'f' }, 10_000);
    const other = daemon.execute('query-named-block-nodes', undefined, 10_000);
    const first = told(await pending);
    const second = told(await other);
    const { code, stderr } = await stage.run('tsimg', ['convert', '-f', 'raw', '-O', 'raw', '/proc/version', 'o.raw']);
    const made = existsSync(stage.path('o.raw')) ? `${statSync(stage.path('o.raw')).size} bytes made` : 'nothing made';
    return `${first}; other answers ${second}; /proc/version: exit ${code}, ${stderr.trim().replace('tsimg: ', '')}, ${made}`;
  },
};
export default fault;
