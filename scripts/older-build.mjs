/* A built checkout of an older commit, with the packages of this one: for what compares versions. */
import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Builds `commit` of the repository at `root` in the new folder `where`; returns the folder. Throws with what went wrong. */
export function buildOf(commit, root, where) {
  const run = (command, args, cwd) => {
    const done = spawnSync(command, args, { cwd, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr}${done.stdout}`);
  };
  run('git', ['clone', '--quiet', '--no-checkout', root, where], root);
  run('git', ['checkout', '--quiet', commit], where);
  symlinkSync(join(root, 'node_modules'), join(where, 'node_modules'));
  run(process.execPath, ['scripts/build.mjs'], where);
  return where;
}
