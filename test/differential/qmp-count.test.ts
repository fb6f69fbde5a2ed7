import { expect, it } from 'vitest';
import { hmpScripts } from './hmp-cases.ts';
import { startedBackups } from './qmp-cases-backup.ts';
import { endedBackups } from './qmp-cases-backup-ends.ts';
import { bitmapScripts } from './qmp-cases-bitmaps.ts';
import { exportScripts, nodeScripts } from './qmp-cases-block.ts';
import { encryptedScripts } from './qmp-cases-encrypted.ts';
import { filterScripts } from './qmp-cases-filters.ts';
import { jobScripts } from './qmp-cases-jobs.ts';
import { jobOrderScripts } from './qmp-cases-orders.ts';
import { wireScripts } from './qmp-cases-wire.ts';
import type { Script } from './qmp-harness.ts';

const exchanges = (scripts: readonly Script[]): string[] => scripts.flatMap((script) => script.steps.filter((step) => !/^(?:#|wait )/.test(step)));

it('the comparison with the storage daemon holds enough exchanges', () => {
  expect(
    exchanges([...wireScripts, ...nodeScripts, ...exportScripts, ...jobScripts, ...startedBackups, ...endedBackups, ...jobOrderScripts]).length,
  ).toBeGreaterThanOrEqual(600);
});

it('the comparison with a machine holds enough exchanges', () => {
  const hmp = exchanges(hmpScripts).filter((step) => step.startsWith('hmp '));
  expect(hmp.length).toBeGreaterThanOrEqual(150);
});

it('every script has a name of its own', () => {
  for (const scripts of [
    wireScripts,
    nodeScripts,
    exportScripts,
    jobScripts,
    [...startedBackups, ...endedBackups],
    bitmapScripts,
    jobOrderScripts,
    encryptedScripts,
    filterScripts,
    hmpScripts,
  ]) {
    expect(new Set(scripts.map((script) => script.name)).size).toBe(scripts.length);
  }
});
