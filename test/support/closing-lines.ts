/*
 * What a run of the tests says last: which comparisons were left out because a peer is absent (test/support/peers.ts
 * marks them by their names), and one plain line of counts.
 */
import type { Reporter, TestModule } from 'vitest/node';

/** The name of a test that stands for left-out ones. */
export function nameOfLeftOut(absent: readonly string[]): string {
  return `left out: needs ${absent.join(', ')}`;
}
const leftOutName = /^left out: needs (.+)$/;

export class ClosingLines implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    const leftOut: string[] = [];
    const missing = new Set<string>();
    for (const module of modules) {
      if (module.state() === 'failed' && [...module.children.allTests()].length === 0) counts.failed += 1;
      for (const test of module.children.allTests()) {
        counts[test.result().state] += 1;
        const names = leftOutName.exec(test.name)?.[1];
        if (test.result().state !== 'skipped' || names === undefined) continue;
        leftOut.push(`  ${module.relativeModuleId}: ${test.parent.type === 'suite' ? test.parent.fullName : test.name}`);
        for (const name of names.split(', ')) missing.add(name);
      }
    }
    if (leftOut.length > 0) {
      console.log(`\nLEFT OUT, for want of peers (${[...missing].sort().join(', ')}); scripts/peers/install brings them:`);
      console.log(leftOut.sort().join('\n'));
    }
    console.log(`\ntests: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped + counts.pending} skipped\n`);
  }
}
