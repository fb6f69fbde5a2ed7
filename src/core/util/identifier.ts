/* Identifiers as QEMU takes them for nodes, jobs, exports, objects, drives and channels. */

/** A letter, then letters, digits, `-`, `.` and `_`. */
export function isIdentifier(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9\-._]*$/.test(text);
}
