/* Tells a qcow2 image by its magic and version (qcow2 specification, header). Apart from the driver so that probing loads nothing else. */
import { getU32 } from '../core/util/bytes.ts';

const QCOW_MAGIC = 0x514649fb;

/** 100 for an image of version 2 or 3, else 0. */
export function probeQcow2(head: Uint8Array): number {
  return head.length >= 8 && getU32(head, 0) === QCOW_MAGIC && getU32(head, 4) >= 2 ? 100 : 0;
}
