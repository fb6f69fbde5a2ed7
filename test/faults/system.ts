/* What scenes need of the system as root: loop devices and small file systems, taken down with the scene. */
import type { Stage } from './stage.ts';

/** Runs `body` with a loop device over `file`, in sectors of `sector` bytes. */
export async function withLoop<T>(stage: Stage, file: string, sector: number, body: (device: string) => Promise<T>): Promise<T> {
  const made = await stage.exec('losetup', ['--find', '--show', '--sector-size', String(sector), stage.path(file)]);
  const device = made.stdout.trim();
  if (made.code !== 0 || device === '') throw new Error(`no loop device: ${made.stderr.trim()}`);
  try {
    return await body(device);
  } finally {
    await stage.exec('losetup', ['--detach', device]);
  }
}

/** Runs `body` with a file system in memory of `size` (`4M`) at the folder `name`, which must be there. */
export async function withTmpfs<T>(stage: Stage, name: string, size: string, body: () => Promise<T>): Promise<T> {
  const made = await stage.exec('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', stage.path(name)]);
  if (made.code !== 0) throw new Error(`no tmpfs: ${made.stderr.trim()}`);
  try {
    return await body();
  } finally {
    await stage.exec('umount', [stage.path(name)]);
  }
}
