import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { Reporter } from '../../src/cli/report.ts';
import { relayWarnings } from '../../src/cli/warnings.ts';
import { EventSink } from '../../src/core/util/events.ts';

it('of what is in images a server shows some lines, of what went wrong all', () => {
  const events = new EventSink(() => 0);
  const stderr = new PassThrough();
  relayWarnings(events, new Reporter({ program: 'p', stderr }), 2);
  for (let index = 0; index < 5; index++) events.emit('TSIMG_WARNING', { message: `Repairing ${index}`, isPlain: true });
  events.emit('TSIMG_WARNING', { message: 'Lost persistent bitmaps', isError: true });
  events.emit('JOB_STATUS_CHANGE', {});
  expect(String(stderr.read())).toBe('Repairing 0\nRepairing 1\np: warning: what else is found in images is not shown\np: Lost persistent bitmaps\n');
});
