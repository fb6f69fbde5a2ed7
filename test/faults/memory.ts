/* Runs a program of the checkout to its end and tells the memory that it took over a start of its own. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Finished, Program, Stage } from './stage.ts';

const mebi = 1024 * 1024;
/** What a hostile image may cost. */
export const allowedBytes: number = 256 * mebi;

export interface Measured extends Finished {
  /** Peak resident bytes over those of the program when it only tells its version; undefined when it was killed. */
  readonly cost: number | undefined;
}

/** Peak resident bytes of a run. */
async function peak(stage: Stage, program: Program, args: readonly string[], limitMs: number): Promise<Finished & { peak: number | undefined }> {
  const hook = stage.path('peak-hook.cjs');
  const file = stage.path('peak');
  writeFileSync(file, '');
  writeFileSync(hook, `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(file)}, String(process.resourceUsage().maxRSS)));`);
  const finished = await stage.run(program, args, { env: { NODE_OPTIONS: `--require=${hook}` }, limitMs });
  const text = readFileSync(file, 'utf8');
  return { ...finished, peak: text === '' ? undefined : Number(text) * 1024 };
}

export async function measured(stage: Stage, program: Program, args: readonly string[], limitMs = 60_000): Promise<Measured> {
  const start = await peak(stage, program, ['--version'], limitMs);
  const run = await peak(stage, program, args, limitMs);
  return { ...run, cost: run.peak === undefined || start.peak === undefined ? undefined : run.peak - start.peak };
}

/** A run in short: exit code, and whether it kept to what is allowed. */
export function costTold({ code, cost }: Measured): string {
  if (cost === undefined) return 'killed';
  return `exit ${code} ${cost <= allowedBytes ? 'within 256 MiB' : `took ${Math.round(cost / mebi)} MiB`}`;
}
