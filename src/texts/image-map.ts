/*
 * The lines of `map`: a table for people, and QEMU's JSON with one extent a line. Pure text. Rule source: observed output of
 * qemu-img 11.1.
 */
import { BlockError } from '../core/util/errors.ts';

/** A run of an image that lies in one place. */
export interface Extent {
  readonly start: number;
  length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly compressed: boolean;
  /** Where the extent lies in `file`. */
  readonly offset: number | undefined;
  readonly file: string | undefined;
}

/** How a list of extents is printed. */
export interface MapForm {
  readonly heading: string;
  /** The text of one extent, '' where nothing is told of it. May throw BlockError for what the form cannot show. */
  line(extent: Extent, isLast: boolean): string;
}

export const humanMap: MapForm = {
  heading: `${'Offset'.padEnd(16)}${'Length'.padEnd(16)}${'Mapped to'.padEnd(16)}File\n`,
  line: (extent) => {
    if (extent.data && extent.offset === undefined) {
      throw new BlockError('File contains external, encrypted or compressed clusters.', { code: 'ENOTSUP' });
    }
    if (!extent.data || extent.zero) return '';
    return `${hex(extent.start)}${hex(extent.length)}${hex(extent.offset ?? 0)}${extent.file ?? ''}\n`;
  },
};

function hex(value: number): string {
  return (value === 0 ? '0' : `0x${value.toString(16)}`).padEnd(16);
}

export const jsonMap: MapForm = {
  heading: '[',
  line: ({ start, length, depth, present, zero, data, compressed, offset }, isLast) => {
    const where = offset === undefined ? '' : `, "offset": ${offset}`;
    return `{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${present}, "zero": ${zero}, "data": ${data}, "compressed": ${compressed}${where}}${isLast ? ']' : ','}\n`;
  },
};
