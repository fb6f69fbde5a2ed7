/* What drivers have to say beside answers and errors, on the standard error of whatever program runs them. */
import type { EventSink } from '../core/util/events.ts';
import type { Reporter } from './report.ts';

const relayed = new WeakSet<EventSink>();

/** Lines about what is in an image that somebody who serves others prints in all: a hostile image has millions. */
export const maxServedLines = 64;

/**
 * Shows what drivers tell while they open, read and close images: lost bitmaps, corruption that was met. Of the lines about
 * what is in an image no more than `maxLines`. Notes go to standard output; what makes all further work worthless ends the
 * program (blkverify).
 */
export function relayWarnings(events: EventSink, report: Reporter, maxLines: number = Number.POSITIVE_INFINITY): void {
  if (relayed.has(events)) return;
  relayed.add(events);
  let lines = 0;
  events.listen(({ name, data }) => {
    if (name === 'TSIMG_NOTE') report.print(`${String(data?.['message'])}\n`);
    if (name === 'TSIMG_FATAL') {
      report.stderr.write(`${String(data?.['message'])}\n`);
      process.exit(1);
    }
    if (name !== 'TSIMG_WARNING') return;
    const hint = data?.['hint'];
    if (data?.['isPlain'] === true) {
      if (++lines <= maxLines) report.stderr.write(`${String(data['message'])}\n`);
      else if (lines === maxLines + 1) report.warning('what else is found in images is not shown');
    } else if (data?.['isError'] === true) report.message(String(data['message']));
    else report.warning(String(data?.['message']));
    // the peer's hint has no line end of its own
    if (typeof hint === 'string') report.stderr.write(hint);
  });
}
