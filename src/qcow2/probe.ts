/* Recognises a qcow2 image by its first bytes. Apart from the driver, so that probing loads nothing else. */

/** 100 for the magic with version 2 or later, else 0. */
export function probeQcow2(head: Uint8Array): number {
  const isMagic = head[0] === 0x51 && head[1] === 0x46 && head[2] === 0x49 && head[3] === 0xfb;
  if (!isMagic || head.length < 8) return 0;
  const version = ((head[4] ?? 0) << 24) | ((head[5] ?? 0) << 16) | ((head[6] ?? 0) << 8) | (head[7] ?? 0);
  return version >>> 0 >= 2 ? 100 : 0;
}
