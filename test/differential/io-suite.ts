/* One test a run of qemu-io: what tsio and the peer answer, and what they leave behind, must be equal. */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram } from '../support/run.ts';
import { type IoCase, IoComparison } from './io-harness.ts';

export function compareIo(name: string, cases: readonly IoCase[]): void {
  describeWithPeers(['qemu-img', 'qemu-io'], name, () => {
    let comparison: IoComparison;
    beforeAll(() => {
      const program = builtProgram('tsio');
      if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
      comparison = new IoComparison(peer, program);
    });
    afterAll(() => comparison?.dispose());

    it.each(cases.map((test) => [[...(test.commands ?? []), test.args, test.stdin ?? ''].join(' | '), test] as const))('%s', async (_, test) => {
      const { peer: expected, ours } = await comparison.run(test);
      expect(ours).toBe(expected);
    });
  });
}
