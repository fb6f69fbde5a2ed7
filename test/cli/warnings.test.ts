import { PassThrough } from 'node:stream';
import { expect, it, vi } from 'vitest';
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

it('notes are output; what makes all further work worthless ends the program', () => {
  const events = new EventSink(() => 0);
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  relayWarnings(events, new Reporter({ program: 'p', stdout, stderr }));
  const exit = vi.spyOn(process, 'exit').mockImplementation(() => undefined as never);
  events.emit('TSIMG_NOTE', { message: 'Suspended request' });
  expect(exit).not.toHaveBeenCalled();
  events.emit('TSIMG_FATAL', { message: 'contents mismatch' });
  expect(exit).toHaveBeenCalledWith(1);
  exit.mockRestore();
  expect([String(stdout.read()), String(stderr.read())]).toEqual(['Suspended request\n', 'contents mismatch\n']);
});
