/* The version of the programs (test/commands holds it equal to package.json) and the lines that `--version` prints. */
const version = '0.1.0';

/** What `--version` prints for a program of this name. */
export function versionLines(program: string): string[] {
  return [`${program} version ${version}`, 'Copyright (c) 2026 the tsimg contributors'];
}
