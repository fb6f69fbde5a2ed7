/* One test a scenario: what was judged is printed, and a medium of each is shown to the peer. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { findPeer } from '../support/peers.ts';
import { tempFolder } from '../support/tmp.ts';
import { type Outcome, type Scenario, tryScenario } from './scenario.ts';

/** Media judged in a scenario. TSIMG_POWERCUT_MEDIA: fewer, where a whole run is not worth its time (mutation testing). */
const usual = Number(process.env['TSIMG_POWERCUT_MEDIA'] ?? 1020);
const isShort = usual < 300;
const least = isShort ? usual / 2 : 300;
/** However busy the machine is: a test that is stuck, not one that is slow. */
const stuckAfter = isShort ? 15_000 : 900_000;

/** Judges all scenarios of a group, `atLeast` different media of them together. */
export function judgeAll(group: string, scenarios: readonly Scenario[], atLeast: number): void {
  const outcomes = new Map<string, Outcome>();
  const judge = async (scenario: Scenario): Promise<Outcome> => {
    const known = outcomes.get(scenario.name) ?? (await tryScenario(scenario, usual, isShort ? 25 : 1));
    outcomes.set(scenario.name, known);
    return known;
  };
  describe(`power cuts and faults: ${group}`, () => {
    it.each(scenarios)(
      '$name',
      async (scenario) => {
        const { media, faults, sample } = await judge(scenario);
        expect(media).toBeGreaterThanOrEqual(least);
        expect(faults).toBeGreaterThan(isShort ? 0 : 10);
        const qemuImg = findPeer('qemu-img');
        if (isShort || qemuImg === undefined || scenario.isLazy === true || scenario.hasLateFlags === true || (scenario.damaged ?? 'leaks') !== 'leaks') return;
        using folder = tempFolder('power-cut');
        for (const [path, bytes] of sample) writeFileSync(folder.file(path), bytes);
        // leaks are told by 3
        let code = 0;
        try {
          const secrets = Object.entries(scenario.secrets ?? {}).flatMap(([id, data]) => ['--object', `secret,id=${id},data=${data}`]);
          const named = secrets.length === 0 ? ['image.qcow2'] : [...secrets, '--image-opts', 'driver=qcow2,file.filename=image.qcow2,encrypt.key-secret=s'];
          execFileSync(qemuImg, ['check', '-q', ...named], { cwd: folder.path, stdio: 'ignore' });
        } catch (error) {
          code = (error as { status: number }).status;
        }
        expect([0, 3]).toContain(code);
      },
      stuckAfter,
    );

    it.skipIf(isShort)(
      `judged at least ${atLeast} different media`,
      async () => {
        let total = 0;
        for (const scenario of scenarios) total += (await judge(scenario)).media;
        expect(total).toBeGreaterThanOrEqual(atLeast);
      },
      stuckAfter,
    );

    afterAll(() => {
      let media = 0;
      let faults = 0;
      for (const [name, outcome] of outcomes) {
        media += outcome.media;
        faults += outcome.faults;
        process.stdout.write(`power cut: ${name}: ${outcome.media} media, ${outcome.faults} faults\n`);
      }
      process.stdout.write(`power cut: ${group}: ${media} media, ${faults} faults in ${outcomes.size} scenarios\n`);
    });
  });
}
