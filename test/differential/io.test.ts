/* Command lines of tsio beside the peer's qemu-io. */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram } from '../support/run.ts';
import { ioCases } from './io-cases.ts';
import { IoComparison } from './io-harness.ts';

describeWithPeers(['qemu-img', 'qemu-io'], 'tsio answers as qemu-io', () => {
  let comparison: IoComparison;
  beforeAll(() => {
    const program = builtProgram('tsio');
    if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
    comparison = new IoComparison(peer, program);
  });
  afterAll(() => comparison?.dispose());

  it.each(ioCases.map((test) => [[...(test.commands ?? []), test.args, test.stdin ?? ''].join(' | '), test] as const))('%s', async (_, test) => {
    const { peer: expected, ours } = await comparison.run(test);
    expect(ours).toBe(expected);
  });

  it('in enough cases', () => {
    expect(ioCases.length).toBeGreaterThanOrEqual(250);
  });
});
