/* npm run demo: ends well, removes everything, and tells where a reader saw something else than the instant. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { builtProgram, type Finished, projectRoot, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

function demo(folder: TempFolder, env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return run(process.execPath, [join(projectRoot, 'scripts', 'demo.mjs')], { cwd: folder.path, env: { ...process.env, TMPDIR: folder.path, ...env } });
}

describe('the demo', () => {
  it('shows the workflow, picture and counts, compares every byte and leaves nothing', async () => {
    using folder = tempFolder('demo');
    const { code, stdout, stderr } = await demo(folder);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('(QEMU) blockdev-backup device=ide0-hd0 sync=none target=target0');
    expect(stdout.match(/reader \d: all 33554432 bytes as they were at the instant of the backup/g)).toHaveLength(4);
    expect(stdout).toMatch(/the guest wrote [1-9]\d* bytes and changed [1-9]\d* of 512 clusters/);
    expect(stdout).toMatch(/copy-before-write saved [1-9]\d* of 512 clusters first/);
    // a note stands between the line that earns it and what that line is answered
    const lines = stdout.split('\n');
    const noted = lines.flatMap((line, at) => (line.startsWith('note: ') ? [at] : []));
    expect(noted.length).toBeGreaterThan(1);
    for (const at of noted) {
      const subject = /^note: ([\w-]+):/.exec(lines[at] ?? '')?.[1] ?? '?';
      const asked = lines.slice(0, at).findLast((line) => line.startsWith('(QEMU) '));
      expect(asked, lines[at]).toContain(`(QEMU) ${subject} `);
    }
    expect(stdout).not.toContain('\u001b');
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('fails and says where when one reader saw another byte', async () => {
    using folder = tempFolder('demo');
    using programs = tempFolder('demo-dist');
    for (const name of ['tsimg', 'tsqmp']) writeFileSync(programs.file(`${name}.cjs`), `require(${JSON.stringify(builtProgram(name))});`);
    // the real tsqmp, and at its end one byte of what the second reader wrote down is another
    const spoil =
      "process.on('exit', () => { const fs = require('node:fs'); const f = fs.openSync('frozen-2.raw', 'r+'); const b = Buffer.alloc(1); " +
      'fs.readSync(f, b, 0, 1, 777777); b[0] ^= 255; fs.writeSync(f, b, 0, 1, 777777); });';
    writeFileSync(programs.file('tsqmp.cjs'), `${spoil} require(${JSON.stringify(builtProgram('tsqmp'))});`);
    const { code, stdout } = await demo(folder, { TSIMG_DIST: programs.path });
    expect(code).toBe(1);
    expect(stdout).toMatch(/reader 2: differs at byte 777777 \(cluster 11\): 0x[0-9a-f]{2} at the instant, 0x[0-9a-f]{2} read/);
    expect(stdout).toContain('NOT frozen.');
    expect(readdirSync(folder.path)).toEqual([]);
  });
});
