/* What the documents name exists. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/run.ts';

const documents = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: projectRoot, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.startsWith('docs/adr/') && existsSync(join(projectRoot, file)));

describe('documents', () => {
  it('there are some', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md']));
  });

  it.each(documents)('%s names only paths that exist', (file) => {
    const text = readFileSync(join(projectRoot, file), 'utf8');
    const paths = [...text.matchAll(/(?<![\w./-])((?:src|test|bin|man|docs|bench|examples|scripts)\/[\w./-]*\w)/g)].map((match) => match[1] ?? '');
    expect(paths.filter((path) => !path.includes('NAME') && !existsSync(join(projectRoot, path)))).toEqual([]);
  });
});
