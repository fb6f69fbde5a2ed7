/*
 * Formats that QEMU finds by probing and this version has no driver for. Taking them for raw would show their metadata as
 * the disk's content, and let a guest write one: so they are named, and not opened.
 * Rule source: the magic numbers that the formats' specifications give.
 */
import { getU32 } from '../core/util/bytes.ts';

const magics: readonly (readonly [name: string, offset: number, magic: string])[] = [
  ['vmdk', 0, 'KDMV'],
  ['vmdk', 0, 'COWD'],
  ['vhdx', 0, 'vhdxfile'],
  ['vpc', 0, 'conectix'],
  ['vdi', 64, '\x7f\x10\xda\xbe'],
  ['qed', 0, 'QED\0'],
  ['parallels', 0, 'WithoutFreeSpace'],
  ['parallels', 0, 'WithouFreSpacExt'],
  ['bochs', 0, 'Bochs Virtual HD Image\0'],
  ['cloop', 0, '#!/bin/sh\n#V2.0 Format\n'],
];

/** Name of the format that an image beginning with `head` has; undefined when it is none of these. */
export function foreignFormat(head: Uint8Array): string | undefined {
  for (const [name, offset, magic] of magics) if (hasMagic(head, offset, magic)) return name;
  const isQcow = head.length >= 8 && getU32(head, 0) === 0x514649fb && getU32(head, 4) === 1;
  return isQcow ? 'qcow' : undefined;
}

function hasMagic(head: Uint8Array, offset: number, magic: string): boolean {
  for (let at = 0; at < magic.length; at++) if (head[offset + at] !== magic.charCodeAt(at)) return false;
  return true;
}
