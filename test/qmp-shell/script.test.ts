/* Scripts: echo, waiting for events, errors that are expected, and where a script stops. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/util/json.ts';
import { EventLog } from '../../src/qmp-shell/event-log.ts';
import { Interpreter } from '../../src/qmp-shell/interpreter.ts';
import { LineRunner, runScript, Script } from '../../src/qmp-shell/script.ts';
import { FakeTransport } from './fake-transport.ts';

class Stage {
  readonly transport: FakeTransport = new FakeTransport();
  readonly events: EventLog = new EventLog();
  readonly ending: AbortController = new AbortController();
  out = '';
  err = '';

  async run(text: string, hasHints = false): Promise<number> {
    const runner = new LineRunner(new Interpreter(this.transport), this.events);
    const output = {
      out: (part: string) => {
        this.out += part;
      },
      err: (part: string) => {
        this.err += part;
      },
      hasHints,
    };
    return runScript(text, new Script('file.qmp', runner, output, this.ending.signal));
  }
}

const event = (name: string, data: JsonObject = {}): JsonObject => ({ event: name, data });
const failing = (message: JsonObject): JsonObject =>
  message['execute'] === 'stop' ? { error: { class: 'DeviceNotActive', desc: "Block job 'j' not found" } } : { return: {} };

describe('a script', () => {
  it('echoes lines and comments, and leaves blank lines out', async () => {
    const stage = new Stage();
    expect(await stage.run('# what it is\n\nquery-status\r\ntransaction(\nabort\n)\n')).toBe(0);
    expect(stage.out).toBe('# what it is\n(QEMU) query-status\n{"return": {}}\n(QEMU) transaction(\nTRANS> abort\nTRANS> )\n{"return": {}}\n');
    expect(stage.err).toBe('');
  });

  it('stops at the first error and tells where', async () => {
    const stage = new Stage();
    stage.transport.answer = failing;
    expect(await stage.run('query-status\n\nstop\nquery-status\n', true)).toBe(1);
    expect(stage.out).toContain('{"error": {"class": "DeviceNotActive", "desc": "Block job \'j\' not found"}}');
    expect(stage.err).toBe("file.qmp:3: stop: Block job 'j' not found\nhint: query-jobs lists the jobs\n");
    expect(stage.transport.sent).toHaveLength(2);
  });

  it('ends at quit', async () => {
    const stage = new Stage();
    expect(await stage.run('quit\nstop\n')).toBe(0);
    expect(stage.transport.sent).toHaveLength(1);
  });

  it('is not complete with an open transaction', async () => {
    const stage = new Stage();
    expect(await stage.run('transaction(\nabort\n')).toBe(1);
    expect(stage.err).toMatch(/^file\.qmp:\d: transaction\( is not closed/);
  });

  it('begins no line once it was told to end', async () => {
    const stage = new Stage();
    stage.ending.abort();
    expect(await stage.run('query-status\n')).toBe(1);
    expect([stage.err, stage.transport.sent.length]).toEqual(['file.qmp:1: query-status: interrupted\n', 0]);
  });
});

describe('wait', () => {
  it('takes an event that came before, each once', async () => {
    const stage = new Stage();
    stage.events.add(event('JOB_STATUS_CHANGE', { id: 'a', status: 'created' }));
    stage.events.add(event('JOB_STATUS_CHANGE', { id: 'b', status: 'created' }));
    expect(await stage.run('wait JOB_STATUS_CHANGE id=b\nwait JOB_STATUS_CHANGE status=created\n')).toBe(0);
    expect(await stage.run('wait JOB_STATUS_CHANGE timeout=1ms\n')).toBe(1);
  });

  it('takes an event that comes later', async () => {
    const stage = new Stage();
    const done = stage.run('wait STOP timeout=60s\n');
    stage.events.add(event('RESUME'));
    stage.events.add(event('STOP'));
    expect(await done).toBe(0);
  });

  it('compares numbers, booleans and nested members', async () => {
    const stage = new Stage();
    stage.events.add(event('X', { n: 5, b: true, o: { p: 'q', r: 1 } }));
    expect(await stage.run('wait X n=5 b=true o.p=q\n')).toBe(0);
    stage.events.add(event('X', { n: 5 }));
    expect(await stage.run('wait X n=6 timeout=1ms\n')).toBe(1);
    expect(stage.err).toMatch(/^No event X with \{"n": 6\} has come in 0\.001s\nfile\.qmp:1: wait X n=6 timeout=1ms: /);
  });

  it('ends when it is told to, and when no more events can come', async () => {
    const stage = new Stage();
    const interrupted = stage.run('wait STOP timeout=10m\n');
    stage.ending.abort();
    expect(await interrupted).toBe(1);
    expect(stage.err).toContain('file.qmp:1: wait STOP timeout=10m: interrupted');
    const cut = new Stage();
    const waiting = cut.run('wait STOP timeout=10m\n');
    cut.events.close('Disconnected');
    expect(await waiting).toBe(1);
    expect(cut.err).toContain('Disconnected');
  });

  it.each(['wait', 'wait X timeout=soon', 'wait X y'])('refuses %j', async (line) => expect(await new Stage().run(line)).toBe(1));
});

describe('expect-error', () => {
  async function run(line: string): Promise<{ code: number; err: string; out: string }> {
    const stage = new Stage();
    stage.transport.answer = failing;
    return { code: await stage.run(line), err: stage.err, out: stage.out };
  }

  it.each(['expect-error DeviceNotActive stop', 'expect-error * stop', 'expect-error DeviceNotActive "job \'j\'" stop'])('%s', async (line) => {
    const { code, out, err } = await run(line);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('"class": "DeviceNotActive"');
  });

  it.each([
    ['expect-error GenericError stop', 'Expected an error of class GenericError, not DeviceNotActive'],
    ['expect-error DeviceNotActive "other" stop', "Expected an error with 'other', not: Block job 'j' not found"],
    ['expect-error GenericError query-status', 'Expected an error of class GenericError, but it succeeded'],
    ['expect-error GenericError', 'Usage: expect-error'],
  ])('%s', async (line, message) => {
    const { code, err } = await run(line);
    expect([code, err.includes(message)]).toEqual([1, true]);
  });
});
