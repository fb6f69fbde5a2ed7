import type { CreateValues } from '../../src/core/block/driver.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { linkPlan, planWrite, type WritePlan, writableSlice } from '../../src/qcow2/allocate.ts';
import type { ImageOptions, Qcow2Image } from '../../src/qcow2/image.ts';
import { type L2Entry, newEntry, readEntry } from '../../src/qcow2/l2-entry.ts';
import { refcountOf } from '../../src/qcow2/refcount-blocks.ts';
import { changeRefcounts } from '../../src/qcow2/refcounts.ts';
import type { CachedTable } from '../../src/qcow2/table-cache.ts';
import type { FakeNode } from '../support/fake-node.ts';
import { bareImage, now } from './bare-image.ts';

export let image: Qcow2Image;
export let file: FakeNode;
export let events: string[];
export let clusterSize: number;

export async function open(values: CreateValues, options: Partial<ImageOptions> = {}): Promise<void> {
  ({ image, file, events } = await bareImage(values, options));
  ({ clusterSize } = image.geometry);
}

export const count = (offset: number): number => now(refcountOf(image, Math.floor(offset / clusterSize)));
export const plan = (guest: number, length: number, want?: number): WritePlan => now(planWrite(image, guest, length, want));
export const link = (planned: WritePlan, hasCopied = false, keeps = false): void => now(linkPlan(image, planned, hasCopied, keeps));
export const written = (guest: number, length: number, want?: number): WritePlan => {
  const planned = plan(guest, length, want);
  link(planned);
  return planned;
};
export const slice = (guest = 0): CachedTable => now(writableSlice(image, guest));
export const entry = (index: number): L2Entry => readEntry(image.geometry, slice(), index, newEntry());
export const ioError = (): BlockError => new BlockError('Input/output error', { code: 'EIO' });
export const failure = (body: () => unknown): BlockError => {
  try {
    body();
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
  throw new Error('did not fail');
};
/** Takes a free cluster for the test to use. */
export const taken = (times: number): number => {
  let cluster = 100;
  while (now(refcountOf(image, cluster)) !== 0) cluster++;
  for (let time = 0; time < times; time++) now(changeRefcounts(image, cluster * clusterSize, clusterSize, 1, 'never'));
  return cluster * clusterSize;
};
