/* A qcow2 image without its driver: the state that the algorithms work on, over a file in memory that logs its calls. */
import { Child } from '../../src/core/block/child.ts';
import { type CreateValues, childRole } from '../../src/core/block/driver.ts';
import { isPending } from '../../src/core/util/maybe.ts';
import { makeGeometry } from '../../src/qcow2/address.ts';
import { PlainArea } from '../../src/qcow2/data-area.ts';
import { decodeHeader } from '../../src/qcow2/header.ts';
import { type ImageOptions, Qcow2Image } from '../../src/qcow2/image.ts';
import { incompatible } from '../../src/qcow2/layout.ts';
import { decodeRefcountTable } from '../../src/qcow2/refcount-blocks.ts';
import { run, type Steps } from '../../src/qcow2/steps.ts';
import { FakeNode } from '../support/fake-node.ts';
import { bytesOf, newMedium } from './image-support.ts';

export interface BareImage {
  readonly image: Qcow2Image;
  readonly file: FakeNode;
  /** Texts of corruption events, and warnings. */
  readonly events: string[];
  readonly warnings: string[];
}

const mib = 1024 * 1024;
const given: ImageOptions = {
  passDiscardRequest: true,
  passDiscardSnapshot: true,
  passDiscardOther: true,
  discardNoUnref: false,
  lazyRefcounts: false,
  overlapChecks: 0,
  l2CacheTables: 16,
  refcountCacheTables: 16,
};

/** A new image of 4 MiB in a file of 8 MiB. */
export async function bareImage(values: CreateValues, options: Partial<ImageOptions> = {}): Promise<BareImage> {
  const bytes = bytesOf(await newMedium({ size: 4 * mib, ...values }));
  const file = new FakeNode('file', { size: 8 * mib });
  file.bytes.set(bytes);
  const clusterSize = 2 ** new DataView(file.bytes.buffer).getUint32(20);
  const header = decodeHeader(file.bytes.subarray(0, clusterSize), { readOnly: false, toCheck: false, noIo: false });
  const { clusterBits, refcountOrder, version } = header;
  const geometry = makeGeometry({ clusterBits, isExtended: (header.incompatible & incompatible.extendedL2) !== 0n, refcountOrder, version });
  const edge = new Child('file', childRole.data | childRole.metadata | childRole.primary, file.node, file.node);
  const events: string[] = [];
  const warnings: string[] = [];
  const emit = (_name: string, data: Readonly<Record<string, unknown>>): void => void events.push(String(data['msg']));
  const image = new Qcow2Image({
    node: file.node,
    file: edge,
    data: edge,
    area: new PlainArea(edge),
    encryption: undefined,
    header,
    geometry,
    options: { ...given, ...options },
    emit,
  });
  image.warn = (line) => warnings.push(line);
  const table = header.refcountTableOffset;
  image.refcountTable = decodeRefcountTable(file.bytes.slice(table, table + header.refcountTableClusters * clusterSize));
  image.setL1(file.bytes.slice(header.l1Offset, header.l1Offset + header.l1Size * 8));
  return { image, file, events, warnings };
}

/** The result of steps over a file that answers at once. */
export function now<T>(steps: Steps<T>): T {
  const result = run(steps);
  if (isPending(result)) throw new Error('pending');
  return result;
}
