/* Every row and variant of the faults list, played on this checkout (or on TSIMG_CHECKOUT). */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { findPeer } from '../support/peers.ts';
import { projectRoot } from '../support/run.ts';
import { type Fault, faultKinds } from './fault.ts';
import { Stage } from './stage.ts';

const checkout = process.env['TSIMG_CHECKOUT'] ?? projectRoot;

async function scenes(folder: string): Promise<Fault[]> {
  const names = readdirSync(join(import.meta.dirname, folder)).filter((name) => name.endsWith('.fault.ts'));
  const modules = await Promise.all(names.sort().map((name) => import(join(import.meta.dirname, folder, name)) as Promise<{ default: Fault | Fault[] }>));
  return modules.flatMap((module) => module.default);
}

for (const folder of ['rows', 'variants']) {
  const faults = await scenes(folder);
  describe(`faults, ${folder}`, () => {
    it('have names and kinds', () => {
      expect(new Set(faults.map(({ name }) => name)).size).toBe(faults.length);
      for (const { kind } of faults) expect(faultKinds).toContain(kind);
    });

    for (const fault of faults) {
      const absent = (fault.peers ?? []).filter((name) => findPeer(name) === undefined);
      const isPossible = absent.length === 0 && (!fault.needsRoot || process.getuid?.() === 0);
      it.runIf(isPossible || process.env['REQUIRE_PEERS'] === '1')(fault.name, async () => {
        if (checkout === projectRoot) expect(inject('distProblem')).toBe('');
        await using stage = new Stage(checkout);
        expect(await fault.play(stage)).toBe(fault.expected);
      });
    }
  });
}
