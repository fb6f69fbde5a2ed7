/*
 * New images, laid out byte for byte as the peer's: header, refcount table, one refcount block, L1 table. Small L1 tables are
 * written directly; everything that allocates more (preallocation, very long L1 tables) goes through a resize of an image of
 * size 0. The header comes last: a cut leaves no image, never a wrong one.
 * Rule source: observed layout of new images.
 */
import type { CreateHost, CreateTarget, CreateValues, DriverState } from '../core/block/driver.ts';
import { stripProtocol } from '../core/block/options.ts';
import { setU64 } from '../core/util/bytes.ts';
import { BlockError } from '../core/util/errors.ts';
import { alignUp, ceilDiv } from '../core/util/math.ts';
import type { NewLuks } from '../crypto/luks-volume.ts';
import { type CreateSettings, checkCreateValues, checkKeptDataFile } from './create-values.ts';
import type { NewEncryption } from './encryption.ts';
import { encodeHeader, type Header, newHeader } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { autoclear, compatible, compressionType, cryptMethod, incompatible, maxL1Bytes } from './layout.ts';
import { setRefcount } from './refcount-blocks.ts';
import { run as carryOut, locked } from './steps.ts';

/** Header, refcount table and block. */
const fixedClusters = 3;

/** `imageOf`: the image behind a node of this format. */
export async function createQcow2(host: CreateHost, filename: string, values: CreateValues, imageOf: (state: DriverState) => Qcow2Image): Promise<void> {
  // the file comes before the look at the options, as with the peer: wrong options leave no file, not even an old one
  await host.createFile(filename, 0, 'off');
  const { size, data_file: dataFile, preallocation: asked } = values;
  const dataPath = typeof dataFile === 'string' ? stripProtocol(dataFile) : undefined;
  if (typeof dataFile === 'string' && dataPath !== undefined && values['keep_data_file'] !== true) {
    if (withoutDots(dataPath) === withoutDots(stripProtocol(filename))) {
      throw new BlockError('Failed to get shared "resize" lock', { code: 'EAGAIN', detail: `Is another process using the image [${dataPath}]?` });
    }
    // what is to be given blocks grows to its size when it is given them
    const isAllocated = asked === 'falloc' || asked === 'full';
    await host.createFile(dataPath, isAllocated ? 0 : Number(size ?? 0), 'off');
    // the name is taken as it is for making the file, and as a name of any form for opening it
    await (await host.openFile(dataFile)).close();
  }
  const settings = checkCreateValues(values);
  const header = headerFor(settings);
  const clusterSize = 2 ** settings.clusterBits;
  const entries = ceilDiv(settings.size, (clusterSize / (settings.extendedL2 ? 16 : 8)) * clusterSize);
  if (dataPath !== undefined && settings.keepDataFile) await checkDataFile(host, dataPath, settings);
  const l1Clusters = ceilDiv(entries * 8, clusterSize);
  const countsPerBlock = (clusterSize * 8) / 2 ** settings.refcountOrder;
  const preallocation = settings.dataFileRaw && settings.preallocation === 'off' ? 'metadata' : settings.preallocation;
  const encryption = await newEncryption(host, settings.encryption, values);
  const luksClusters = ceilDiv(encryption?.luks?.length ?? 0, clusterSize);
  const isDirect = preallocation === 'off' && fixedClusters + l1Clusters + luksClusters <= countsPerBlock && entries * 8 <= maxL1Bytes;
  const file = await host.openFile(filename);
  let isKept: boolean;
  try {
    isKept = await writeImage(file, header, isDirect ? { size: settings.size, entries, encryption } : { size: 0, entries: 0, encryption: undefined });
  } finally {
    await file.close();
  }
  // what keeps nothing shows by what is read back
  if (!isKept) await (await host.openImage(filename, 'qcow2')).close();
  if (isDirect) return;
  await resizeNew(host, filename, { size: settings.size, preallocation, encryption, imageOf });
}

function withoutDots(path: string): string {
  return path.replace(/^(?:\.\/+)+/, '');
}

/** Looks whether the data file that is there can be kept. */
async function checkDataFile(host: CreateHost, path: string, settings: CreateSettings): Promise<void> {
  await (await host.openFile(path)).close();
  checkKeptDataFile(settings);
}

function headerFor(settings: CreateSettings): Header {
  const header = newHeader(settings);
  if (settings.lazyRefcounts) header.compatible |= compatible.lazyRefcounts;
  if (settings.extendedL2) header.incompatible |= incompatible.extendedL2;
  if (settings.isZstd) {
    header.incompatible |= incompatible.compression;
    header.compressionType = compressionType.zstd;
  }
  if (settings.dataFile !== undefined) {
    header.incompatible |= incompatible.dataFile;
    header.dataFile = stripProtocol(settings.dataFile);
    if (settings.dataFileRaw) header.autoclear |= autoclear.rawDataFile;
  }
  header.backingFile = settings.backingFile;
  header.backingFormat = settings.backingFormat;
  return header;
}

interface NewContent {
  readonly size: number;
  /** L1 entries. */
  readonly entries: number;
  readonly encryption: NewEncryption | undefined;
}

/** False when the file is of a kind that cannot be flushed: a device that keeps nothing, for one. */
async function writeImage(file: CreateTarget, header: Header, content: NewContent): Promise<boolean> {
  const clusterSize = 2 ** header.clusterBits;
  header.size = content.size;
  header.l1Size = content.entries;
  header.l1Offset = content.entries === 0 ? 0 : fixedClusters * clusterSize;
  const luks = content.encryption?.luks;
  const luksOffset = (fixedClusters + ceilDiv(content.entries * 8, clusterSize)) * clusterSize;
  header.cryptMethod = content.encryption?.method ?? cryptMethod.none;
  if (luks !== undefined) header.crypto = { offset: luksOffset, length: luks.length };
  const encoded = encode(header);
  const tables = new Uint8Array(2 * clusterSize);
  setU64(tables, 0, 2 * clusterSize);
  const block = new DataView(tables.buffer, clusterSize, clusterSize);
  const used = luksOffset / clusterSize + ceilDiv(luks?.length ?? 0, clusterSize);
  for (let cluster = 0; cluster < used; cluster++) setRefcount(block, 2 ** header.refcountOrder, cluster, 1);
  try {
    await file.write(clusterSize, tables);
    if (content.entries > 0) await file.write(header.l1Offset, new Uint8Array(content.entries * 8));
    if (luks !== undefined) await writeLuks(file, luksOffset, luks, clusterSize);
    const isKept = await flushed(file);
    await file.write(0, encoded);
    return (await flushed(file)) && isKept;
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Could not write qcow2 header: ') : error;
  }
}

async function flushed(file: CreateTarget): Promise<boolean> {
  try {
    await file.flush();
    return true;
  } catch (error) {
    if (error instanceof BlockError && error.code === 'EINVAL') return false;
    throw error;
  }
}

function encode(header: Header): Uint8Array {
  try {
    return encodeHeader(header);
  } catch (error) {
    if (!(error instanceof BlockError) || header.backingFile === undefined) throw error;
    throw error.prepend(`Could not assign backing file '${header.backingFile}' with format '${header.backingFormat ?? ''}': `);
  }
}

async function writeLuks(file: CreateTarget, offset: number, luks: NewLuks, clusterSize: number): Promise<void> {
  await file.zero(offset, alignUp(luks.length, clusterSize));
  await file.write(offset + luks.materialOffset, luks.material);
  await file.write(offset, luks.header);
}

interface Growth {
  readonly size: number;
  readonly preallocation: CreateSettings['preallocation'];
  readonly encryption: NewEncryption | undefined;
  imageOf(state: DriverState): Qcow2Image;
}

async function resizeNew(host: CreateHost, filename: string, { size, preallocation, encryption, imageOf }: Growth): Promise<void> {
  const image = await host.openImage(filename, 'qcow2');
  try {
    await image.truncate(size, preallocation);
    if (encryption !== undefined) await encryptNew(imageOf(image.state), encryption);
    await image.flush();
  } catch (error) {
    await image.close().catch(() => {});
    throw error instanceof BlockError && error.code !== 'EFBIG' ? error.prepend('Could not resize image: ') : error;
  }
  await image.close();
}

/** Keys for a new image; ciphers are loaded for encrypted images only. */
async function newEncryption(host: CreateHost, format: CreateSettings['encryption'], values: CreateValues): Promise<NewEncryption | undefined> {
  if (format === undefined) return undefined;
  const encryption = await import('./encryption.ts');
  return encryption.newEncryption(host, format, values);
}

async function encryptNew(image: Qcow2Image, how: NewEncryption): Promise<void> {
  const { setUpEncryption } = await import('./encryption.ts');
  await carryOut(locked(image.mutex, () => setUpEncryption(image, how)));
}
