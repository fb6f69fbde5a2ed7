/*
 * What of an image can be changed afterwards, in the peer's order: up in version first, since other options may need it, and
 * down last. An option that cannot be is refused; what came before it stays.
 * Rule source: observed behaviour of qemu-img amend 11.1.
 */
import type { AmendHow, CreateValues } from '../core/block/driver.ts';
import { truncateNode } from '../core/block/io.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPowerOfTwo } from '../core/util/math.ts';
import { encryptPrefix } from '../crypto/luks-options.ts';
import { AmendProgress } from './amend-progress.ts';
import { downgrade, upgrade } from './change-version.ts';
import type { Header } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { autoclear, compatible, cryptMethod } from './layout.ts';
import { changeRefcountWidth } from './refcount-width.ts';
import { run as carryOut, locked, type Steps, told } from './steps.ts';
import type { Writer } from './writer.ts';

const needsV3 = '(use compat=1.1 or greater)';

interface AmendPlan {
  readonly amendsEncryption: boolean;
  readonly version: number;
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean;
  /** 0: as it is. */
  readonly size: number;
}

/** Carries `values` out. Rejects with the peer's message at the first that cannot be. */
export async function amendImage(image: Qcow2Image, writer: Writer, values: CreateValues, how: AmendHow): Promise<void> {
  if (image.broken !== undefined) throw image.broken;
  const plan = planAmend(image, values);
  const { version, refcountBits, amendsEncryption } = plan;
  const changesVersion = version !== image.geometry.version;
  const changesWidth = refcountBits !== image.geometry.refcountBits;
  const progress = new AmendProgress(Number(changesVersion) + Number(changesWidth) + Number(amendsEncryption), how.onProgress);
  const under = (body: () => Steps<void>): Promise<void> => Promise.resolve(carryOut(locked(image.mutex, body)));
  if (version > image.geometry.version) await upgrade(image, progress.next());
  if (amendsEncryption) {
    // it tells nothing of its work
    progress.next();
    await image.encryption?.amend(values, how);
  }
  if (changesWidth) {
    if (version < 3 && refcountBits !== 16)
      throw new BlockError(`Refcount widths other than 16 bits require compatibility level 1.1 or above ${needsV3}`, { code: 'EINVAL' });
    await under(() => changeRefcountWidth(image, Math.log2(refcountBits), progress.next()));
  }
  await under(() => updateHeader(image, dataFileChange(image, plan)));
  checkBacking(image, values);
  if (plan.lazyRefcounts !== image.options.lazyRefcounts) await changeLazyRefcounts(image, writer, plan);
  if (plan.size !== 0) await truncateNode(image.node, plan.size, { exact: true, prealloc: 'off' });
  if (version < image.geometry.version) await downgrade(image, () => writer.clean(), progress.next());
}

/** Checks the values in the order of the peer's list. */
function planAmend(image: Qcow2Image, values: CreateValues): AmendPlan {
  const { geometry, header, options } = image;
  const isRaw = (header.autoclear & autoclear.rawDataFile) !== 0n;
  const amendsEncryption = Object.keys(values).some((name) => name.startsWith(encryptPrefix));
  if (amendsEncryption && image.encryption === undefined) throw new BlockError("Can't amend encryption options - encryption not present", { code: 'EINVAL' });
  if (amendsEncryption && header.cryptMethod !== cryptMethod.luks) throw new BlockError('Only LUKS encryption options can be amended', { code: 'ENOTSUP' });
  const version = versionOf(values, geometry.version);
  if (values['data_file'] !== undefined && !image.hasDataFile)
    throw new BlockError('data-file can only be set for images that use an external data file', { code: 'EINVAL' });
  if (values['data_file_raw'] === true && !isRaw) throw new BlockError('data-file-raw cannot be set on existing images', { code: 'EINVAL' });
  const refcountBits = Number(values['refcount_bits'] ?? geometry.refcountBits);
  if (refcountBits > 64 || !isPowerOfTwo(refcountBits))
    throw new BlockError('Refcount width must be a power of two and may not exceed 64 bits', { code: 'EINVAL' });
  return {
    version,
    amendsEncryption,
    refcountBits,
    lazyRefcounts: values['lazy_refcounts'] === undefined ? options.lazyRefcounts : values['lazy_refcounts'] === true,
    dataFile: values['data_file'] === undefined ? header.dataFile : String(values['data_file']),
    dataFileRaw: values['data_file_raw'] === undefined ? isRaw : values['data_file_raw'] === true,
    size: Number(values['size'] ?? 0),
  };
}

function versionOf(values: CreateValues, byDefault: number): number {
  const compat = values['compat'];
  if (compat === undefined) return byDefault;
  if (compat === '0.10' || compat === 'v2') return 2;
  if (compat === '1.1' || compat === 'v3') return 3;
  throw new BlockError(`Unknown compatibility level ${String(compat)}`, { code: 'EINVAL' });
}

function dataFileChange({ header }: Qcow2Image, { dataFile, dataFileRaw }: AmendPlan): Partial<Header> {
  const others = header.autoclear & ~autoclear.rawDataFile;
  return { dataFile: dataFile === '' ? undefined : dataFile, autoclear: dataFileRaw ? others | autoclear.rawDataFile : others };
}

/** The names may be given as they are. */
function checkBacking({ header }: Qcow2Image, values: CreateValues): void {
  const { backing_file: name, backing_fmt: format } = values;
  if (name === undefined && format === undefined) return;
  if (name === header.backingFile && format === header.backingFormat) return;
  throw new BlockError('Cannot amend the backing file', { code: 'EINVAL', detail: "You can use 'qemu-img rebase' instead." });
}

async function changeLazyRefcounts(image: Qcow2Image, writer: Writer, { version, lazyRefcounts }: AmendPlan): Promise<void> {
  if (lazyRefcounts && version < 3) throw new BlockError(`Lazy refcounts only supported with compatibility level 1.1 and above ${needsV3}`, { code: 'EINVAL' });
  if (!lazyRefcounts) await writer.clean();
  const others = image.header.compatible & ~compatible.lazyRefcounts;
  await carryOut(
    locked(image.mutex, function* () {
      yield* updateHeader(image, { compatible: lazyRefcounts ? others | compatible.lazyRefcounts : others });
      image.changeLazyRefcounts(lazyRefcounts);
    }),
  );
}

function updateHeader(image: Qcow2Image, change: Partial<Header>): Steps<void> {
  return told('Failed to update the image header: ', image.updateHeader(change));
}
