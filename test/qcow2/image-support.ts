/* qcow2 images over media in memory: made by our own creation, opened for writing, checked at the end. */
import type { BlockBackend } from '../../src/core/block/backend.ts';
import type { CheckResult, CreateValues } from '../../src/core/block/driver.ts';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { memoryEngine } from '../support/memory-engine.ts';

export const path = 'image.qcow2';

export interface Disk {
  readonly engine: Engine;
  readonly backend: BlockBackend;
  readonly medium: MemoryStorage;
}

export interface DiskOptions {
  readonly values?: CreateValues;
  /** Content of a raw backing file. */
  readonly backing?: Uint8Array;
  readonly wrap?: (storage: Storage) => Storage;
  readonly open?: Record<string, string | number | boolean>;
}

/** Makes the medium of a new image. */
export async function newMedium(values: CreateValues, backing?: Uint8Array): Promise<MemoryStorage> {
  const { engine, media } = memoryEngine();
  if (backing !== undefined) media.set('base.raw', mediumOf(backing));
  await createImage(engine, 'qcow2', path, backing === undefined ? values : { ...values, backing_file: 'base.raw', backing_fmt: 'raw' });
  await engine.close();
  const medium = media.get(path);
  if (medium === undefined) throw new Error('creation made no file');
  return medium;
}

export function mediumOf(bytes: Uint8Array): MemoryStorage {
  const medium = new MemoryStorage();
  medium.write(0, bytes);
  return medium;
}

/** Opens the image on `medium` for writing, with discards passed on. */
export async function openMedium(medium: MemoryStorage, options: DiskOptions & { readonly readOnly?: boolean } = {}): Promise<Disk> {
  const { engine, media } = memoryEngine((storage, name) => (name === path && options.wrap !== undefined ? options.wrap(storage) : storage));
  media.set(path, medium);
  if (options.backing !== undefined) media.set('base.raw', mediumOf(options.backing));
  try {
    const backend = await engine.openBackend({
      filename: path,
      format: 'qcow2',
      readOnly: options.readOnly ?? false,
      discard: true,
      ...(options.open === undefined ? {} : { options: options.open }),
    });
    return { engine, backend, medium };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

export async function newDisk(options: DiskOptions): Promise<Disk> {
  return openMedium(await newMedium(options.values ?? {}, options.backing), options);
}

/** The verdict on the image of a medium that nobody has open. */
export async function checkMedium(medium: MemoryStorage, options: DiskOptions = {}): Promise<CheckResult & { readonly messages: string[] }> {
  const { engine, backend } = await openMedium(medium, { ...(options.backing === undefined ? {} : { backing: options.backing }), readOnly: true });
  const messages: string[] = [];
  const take = (text: string): void => void messages.push(text);
  const result = await backend.node?.state.check?.({ leaks: false, errors: false }, { line: take, error: take });
  await engine.close();
  if (result === undefined) throw new Error('no check');
  return { ...result, messages };
}

export function bytesOf(medium: MemoryStorage): Uint8Array {
  const bytes = new Uint8Array(medium.size());
  medium.read(0, bytes);
  return bytes;
}

export function copyMedium(medium: MemoryStorage): MemoryStorage {
  return mediumOf(bytesOf(medium));
}

export function filled(length: number, byte: number): Uint8Array {
  return new Uint8Array(length).fill(byte);
}
