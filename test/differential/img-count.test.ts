import { expect, it } from 'vitest';
import { amendCases } from './img-cases-amend.ts';
import { bitmapCases } from './img-cases-bitmap.ts';
import { compressCases } from './img-cases-compress.ts';
import { damageCases } from './img-cases-damage.ts';
import { luksCases } from './img-cases-luks.ts';
import { readCases } from './img-cases-read.ts';
import { usageCases } from './img-cases-usage.ts';
import { writeCases } from './img-cases-write.ts';

it('the comparison holds every command line once', () => {
  const lines = [...usageCases, ...readCases, ...writeCases, ...damageCases, ...compressCases, ...bitmapCases, ...amendCases, ...luksCases].map((test) =>
    JSON.stringify([test.line, test.before, test.hold, test.env]),
  );
  expect(new Set(lines).size).toBe(lines.length);
  expect(lines.length).toBeGreaterThanOrEqual(400);
});
