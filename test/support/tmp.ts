/* A folder of its own for each test, removed at the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempFolder extends Disposable {
  readonly path: string;
  file(name: string): string;
}

export function tempFolder(label = 'test'): TempFolder {
  const path = mkdtempSync(join(tmpdir(), `tsimg-${label}-`));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
  };
}
