/* What a check found so far: counters, and lines that are told as they come, since a broken image may have millions. */
import type { CheckOutput, CheckResult } from '../core/block/driver.ts';

export interface CheckFix {
  readonly leaks: boolean;
  readonly errors: boolean;
}

export class Findings {
  readonly result: CheckResult = {
    corruptions: 0,
    leaks: 0,
    checkErrors: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    imageEndOffset: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
  };
  readonly fix: CheckFix;
  readonly output: CheckOutput;

  constructor(fix: CheckFix, output: CheckOutput) {
    this.fix = fix;
    this.output = output;
  }

  say(line: string): void {
    this.output.line(line);
  }

  corruption(line: string): void {
    this.result.corruptions++;
    this.output.line(line);
  }

  /** What the check itself met; it goes on. */
  checkError(line: string): void {
    this.result.checkErrors++;
    this.output.line(line);
  }

  /** Counters of their own for a look of their own, with the same output. */
  fresh(fix: CheckFix): Findings {
    return new Findings(fix, this.output);
  }
}
