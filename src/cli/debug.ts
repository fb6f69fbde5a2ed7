/* The switch for debug output: the environment variable TSIMG_DEBUG. */
import { setDebugOutput } from '../core/util/debug.ts';

/** Notes go to standard error as `debug: LINE` when TSIMG_DEBUG is set in `env`. */
export function enableDebug(env: NodeJS.ProcessEnv): void {
  if (env['TSIMG_DEBUG'] !== undefined) setDebugOutput((line) => process.stderr.write(`debug: ${line}\n`));
}
