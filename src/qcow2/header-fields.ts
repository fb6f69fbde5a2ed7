/*
 * Parts of the fixed header that change while an image is open, each at its place: a change of a few of them is one small
 * write inside the first sector, which a power cut leaves whole or undone.
 * Rule source: qcow2 specification, header.
 */
import { setU32, setU64, setU64Big } from '../core/util/bytes.ts';
import type { Header } from './header.ts';
import { headerField } from './layout.ts';

export type FixedFields = Pick<
  Header,
  'size' | 'l1Size' | 'l1Offset' | 'refcountTableOffset' | 'refcountTableClusters' | 'snapshotCount' | 'snapshotsOffset' | 'incompatible'
>;

const places: readonly (readonly [keyof FixedFields, number, 4 | 8])[] = [
  ['size', headerField.size, 8],
  ['l1Size', headerField.l1Size, 4],
  ['l1Offset', headerField.l1Offset, 8],
  ['refcountTableOffset', headerField.refcountTableOffset, 8],
  ['refcountTableClusters', headerField.refcountTableClusters, 4],
  ['snapshotCount', headerField.snapshotCount, 4],
  ['snapshotsOffset', headerField.snapshotsOffset, 8],
  ['incompatible', headerField.incompatible, 8],
];

/** The bytes that `change` sets, before and after. What is changed at once lies side by side in the header. */
export function encodeFields(header: Header, change: Partial<FixedFields>): { offset: number; next: Uint8Array; before: Uint8Array } {
  const named = places.filter(([name]) => change[name] !== undefined);
  const start = Math.min(...named.map(([, at]) => at));
  const end = Math.max(...named.map(([, at, length]) => at + length));
  const encode = (values: FixedFields): Uint8Array => {
    const bytes = new Uint8Array(end - start);
    for (const [name, at, length] of named) {
      const value = values[name];
      if (typeof value === 'bigint') setU64Big(bytes, at - start, value);
      else if (length === 8) setU64(bytes, at - start, value);
      else setU32(bytes, at - start, value);
    }
    return bytes;
  };
  return { offset: start, next: encode({ ...header, ...change }), before: encode(header) };
}
