/* What drivers have to say beside answers and errors, on the standard error of whatever program runs them. */
import type { EventSink } from '../core/util/events.ts';
import type { Reporter } from './report.ts';

const relayed = new WeakSet<EventSink>();

/** Shows what drivers tell while they open, read and close images: lost bitmaps, corruption that was met. */
export function relayWarnings(events: EventSink, report: Reporter): void {
  if (relayed.has(events)) return;
  relayed.add(events);
  events.listen(({ name, data }) => {
    if (name === 'TSIMG_NOTE') report.print(`${String(data?.['message'])}\n`);
    if (name === 'TSIMG_FATAL') {
      report.stderr.write(`${String(data?.['message'])}\n`);
      process.exit(1);
    }
    if (name !== 'TSIMG_WARNING') return;
    const hint = data?.['hint'];
    if (data?.['isPlain'] === true) report.stderr.write(`${String(data['message'])}\n`);
    else if (data?.['isError'] === true) report.message(String(data['message']));
    else report.warning(String(data?.['message']));
    // the peer's hint has no line end of its own
    if (typeof hint === 'string') report.stderr.write(hint);
  });
}
