/* docs/how-a-write-flows.md names files and tests: those that it names are there. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const page = readFileSync('docs/how-a-write-flows.md', 'utf8');

it('the page on writes names files that are there', () => {
  const paths = [...page.matchAll(/`((?:src|test)\/[\w./-]+)`/g)].map((match) => match[1] ?? '');
  expect(paths.length).toBeGreaterThan(15);
  expect(paths.filter((path) => !existsSync(path))).toEqual([]);
});

it('each of its rules names a test that is there', () => {
  const rules = page.split('\n').filter((line) => /^\| [A-Z]/.test(line));
  expect(rules.length).toBe(11);
  const missing = rules.filter((rule) => {
    const [, path = '', name = ''] = /`(test\/[^`]+)`: (.+) \|$/.exec(rule) ?? [];
    return path === '' || !readFileSync(path, 'utf8').includes(name);
  });
  expect(missing).toEqual([]);
});
