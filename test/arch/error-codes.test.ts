/* The codes of errors: the page that lists them and the code agree. */
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
});
