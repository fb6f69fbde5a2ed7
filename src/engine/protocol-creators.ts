/*
 * Protocols as formats of new images: `file` makes a file, as raw does; `host_device` and `host_cdrom` take a
 * device that is there. Knows no
 * command. Rule source: observed behaviour of qemu-img 11.1.
 */
import type { BlockDriver, CreateHost, CreateOption, CreateValues } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import type { Engine } from './engine.ts';

const deviceOptions: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off)' },
];

const firstSector = 512;

/** The driver that makes images of `format`. */
export async function creatorOf(engine: Engine, format: string): Promise<BlockDriver> {
  if (format === 'file') return { ...(await engine.registry.load('raw')), name: format, kind: 'protocol' };
  const driver = await engine.registry.load(format);
  if (format !== 'host_device' && format !== 'host_cdrom') return driver;
  return { ...driver, createOptions: deviceOptions, create: (host, filename, values) => takeDevice(host, filename, values, format) };
}

/** A device is no larger than it is, and the start of it is emptied: nothing finds an old image there. */
export async function takeDevice(host: CreateHost, filename: string, values: CreateValues, protocol = 'host_device'): Promise<void> {
  const device = await host.openFile(`${protocol}:${filename}`).catch((error: unknown) => {
    throw error instanceof BlockError
      ? error.prepend(
          `Protocol driver '${protocol}' does not support creating new images, so an existing image must be selected as the target; however, opening the given target as an existing image failed: `,
        )
      : error;
  });
  try {
    const { size, preallocation } = values;
    if (preallocation !== undefined && preallocation !== 'off')
      throw new BlockError(`Unsupported preallocation mode '${String(preallocation)}'`, { code: 'ENOTSUP' });
    await device.truncate(Number(size ?? 0), 'off');
    await device.zero(0, Math.min(firstSector, device.size()));
  } finally {
    await device.close();
  }
}
