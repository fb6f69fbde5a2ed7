/* One test a command line: what our program and the peer answer, and what they leave behind, must be equal. */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram } from '../support/run.ts';
import { type ImgCase, ImgComparison } from './img-harness.ts';

/** What the line is called in the list of tests. */
function title(test: ImgCase): string {
  const env = Object.entries(test.env ?? {}).map(([name, value]) => `${name}=${value} `);
  return `${env.join('')}qemu-img ${test.line}${test.hold === undefined ? '' : ` (${test.hold} is in use)`}`;
}

/** `fixture`: lines of the peer's programs that add to the files. */
export function compareCommandLines(name: string, cases: readonly ImgCase[], fixture: readonly string[] = []): void {
  describeWithPeers(['qemu-img', 'qemu-io'], name, () => {
    let comparison: ImgComparison;
    beforeAll(() => {
      const program = builtProgram('tsimg');
      if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
      comparison = new ImgComparison(peer, program, fixture);
    });
    afterAll(() => comparison?.dispose());

    it.each(cases.map((test) => [title(test), test] as const))('%s', async (_, test) => {
      const { peer: expected, ours } = await comparison.run(test);
      expect(ours).toBe(expected);
    });

    it('lines that only read left every file as it was', () => {
      const { before, peer: theirs, ours } = comparison.sharedFiles();
      expect(theirs).toBe(before);
      expect(ours).toBe(before);
    });
  });
}
