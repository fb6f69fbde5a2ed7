import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { versionLines } from '../../src/commands/version.ts';
import { projectRoot } from '../support/run.ts';

it('tells the version of the package', () => {
  const { version } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as { version: string };
  expect(versionLines('qemu-img')[0]).toBe(`qemu-img version ${version}`);
});
