/* The codes of errors: the page that lists them and the code agree. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ownErrorCodes } from '../../src/core/util/error-codes.ts';
import { projectRoot } from '../support/run.ts';

const page = readFileSync(join(projectRoot, 'docs', 'error-codes.md'), 'utf8');

describe('codes of errors', () => {
  it('stand in docs/error-codes.md with their meanings, and no others do', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| (.+) \|$/gm)].map((match) => [match[1], match[2]]);
    expect(rows).toEqual(Object.entries(ownErrorCodes));
  });

  it('are all in use', () => {
    const files = execFileSync('git', ['ls-files', 'src/*.ts'], { cwd: projectRoot, encoding: 'utf8' }).trim().split('\n');
    expect(files.length).toBeGreaterThan(100);
    const text = files
      .filter((file) => !file.endsWith('error-codes.ts'))
      .map((file) => readFileSync(join(projectRoot, file), 'utf8'))
      .join('\n');
    expect(Object.keys(ownErrorCodes).filter((code) => !text.includes(`'${code}'`))).toEqual([]);
  });
});
