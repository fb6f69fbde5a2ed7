/* `-r`: a copy keeps to so many bytes a second. */
import type { Clock } from '../core/util/clock.ts';
import { parseSize, parseSizeExact } from '../core/util/size.ts';
import type { CopySettings } from '../jobs/image-copy.ts';

/** Throws for a wrong value. */
export function checkRate(text: string): void {
  parseSizeExact(text, 'rate limit');
}

/** Undefined without a limit. */
export function rateOf(text: string | undefined, clock: Clock): CopySettings['rate'] {
  if (text === undefined) return undefined;
  const speed = parseSize(text, 'rate limit');
  if (speed === 0) return undefined;
  const start = clock.now();
  let bytes = 0;
  return {
    delayFor: (more) => {
      bytes += more;
      const aheadMs = (bytes / speed) * 1000 - (clock.now() - start);
      return aheadMs < 1 ? 0 : aheadMs;
    },
    sleep: (ms) => clock.sleep(ms),
  };
}
