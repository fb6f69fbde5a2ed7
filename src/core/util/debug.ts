/*
 * Debug output: what nobody has to know until something is strange. Silent until a program names a place for it; a note is
 * made once however often its reason is met.
 */
let output: ((line: string) => void) | undefined;
const noted = new Set<string>();

/** Where notes go from now on; undefined = nowhere. What was noted before may be noted again. */
export function setDebugOutput(to: ((line: string) => void) | undefined): void {
  output = to;
  noted.clear();
}

/** Writes `line` once. */
export function debugOnce(line: string): void {
  if (output === undefined || noted.has(line)) return;
  noted.add(line);
  output(line);
}
