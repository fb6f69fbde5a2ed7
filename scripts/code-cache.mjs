/*
 * node scripts/code-cache.mjs DIST MAIN…: makes DIST/code-cache for this Node. Loads the program chunks MAIN as a program
 * does and lets tsimg's commands run once on small images, so that the functions which they use are compiled.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

const [dist, ...mains] = process.argv.slice(2);
const target = resolve(dist);
const { Loader, engineKey } = createRequire(import.meta.url)(join(target, 'launch.cjs'));
const folder = join(target, 'code-cache', engineKey);
const commands = [
  'create -q -f qcow2 a.qcow2 1M',
  'create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2',
  'info b.qcow2',
  'info --output=json b.qcow2',
  'check b.qcow2',
  'map b.qcow2',
  'map --output=json b.qcow2',
  'convert -O raw b.qcow2 c.raw',
  'convert -f raw -O qcow2 c.raw d.qcow2',
  'compare a.qcow2 d.qcow2',
  'resize -q d.qcow2 2M',
  'snapshot -l a.qcow2',
  'check -q missing.qcow2',
];

const loader = new Loader(
  {
    find: () => undefined,
    keep: (file, code) => writeFileSync(join(folder, basename(file)), code),
  },
  join(target, 'programs', 'tsimg.cjs'),
);
const work = mkdtempSync(join(tmpdir(), 'tsimg-code-cache-'));
const quiet = { write: () => {}, isTTY: false };
try {
  // a hash may hold dashes
  const programs = new Map(mains.map((name) => [basename(name).replace(/-[\w-]{8}\.cjs$/, ''), loader.load(join(target, name))]));
  process.chdir(work);
  for (const command of commands) await programs.get('tsimg').main(command.split(' '), 'tsimg', { stdout: quiet, stderr: quiet });
  mkdirSync(folder, { recursive: true });
  loader.keepCode();
} finally {
  process.chdir('/');
  rmSync(work, { recursive: true, force: true });
}
