/* The four permissions as bits, shared by the graph and by the image locks (QEMU: BLK_PERM_*). */

export type PermBits = number;

export const perm = {
  consistentRead: 1,
  write: 2,
  writeUnchanged: 4,
  resize: 8,
  none: 0,
  all: 15,
} as const;

/** Names in QEMU's words, in bit order. */
export const permNames: readonly string[] = ['consistent read', 'write', 'write unchanged', 'resize'];

/** The names used by x-debug-query-block-graph. */
export const permQapiNames: readonly string[] = ['consistent-read', 'write', 'write-unchanged', 'resize'];

/** `write, resize` for bits; `none` for an empty set. */
export function describePerms(bits: PermBits): string {
  const names = permNames.filter((_, index) => (bits & (1 << index)) !== 0);
  return names.length === 0 ? 'none' : names.join(', ');
}
