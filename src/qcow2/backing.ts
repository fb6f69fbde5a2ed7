/* What an image says of its backing file. Rule source: observed checks of `qemu-img rebase -u`. */
import type { DriverStep, RecordedBacking } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { encodeName } from '../core/util/name-codec.ts';
import type { Qcow2Image } from './image.ts';
import { autoclear } from './layout.ts';
import { run as carryOut, locked } from './steps.ts';

const maxNameBytes = 1023;

/** Writes another name, durably; abort puts the one before back. Rejects with the peer's words, nothing changed. */
export async function writeBacking(image: Qcow2Image, backing: RecordedBacking | undefined): Promise<DriverStep> {
  const { header, mutex } = image;
  if (image.broken !== undefined) throw image.broken;
  // a file that is the disk by itself cannot depend on another
  const isRaw = (header.autoclear & autoclear.rawDataFile) !== 0n;
  const isTooLong = encodeName(backing?.filename ?? '').length > maxNameBytes;
  if (backing !== undefined && (isRaw || isTooLong)) throw new BlockError('Invalid argument', { code: 'EINVAL' });
  const { backingFile, backingFormat } = header;
  await carryOut(locked(mutex, () => image.updateHeader({ backingFile: backing?.filename, backingFormat: backing?.format })));
  return {
    commit: () => {},
    abort: () => image.takeBack({ backingFile, backingFormat }),
    settle: async () => {
      await carryOut(locked(mutex, () => image.settle()));
    },
  };
}
