import { afterEach, describe, expect, it } from 'vitest';
import { InvariantError } from '../../src/core/util/errors.ts';
import type { JsonObject } from '../../src/core/util/json.ts';
import { parseJson } from '../../src/core/util/json.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Machine } from '../../src/machine/machine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { defineCommand, noArguments } from '../../src/monitor/command.ts';
import { Monitor, type MonitorSession } from '../../src/monitor/monitor.ts';

const systems: Engine[] = [];
afterEach(async () => {
  for (const engine of systems.splice(0)) await engine.close();
});

function makeMonitor(isStrict: boolean, onQuit: () => void = () => {}): Monitor {
  const engine = new Engine({ strict: isStrict });
  systems.push(engine);
  engine.machine = new Machine(engine);
  return new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit });
}

interface Talk {
  readonly session: MonitorSession;
  readonly notes: string[];
  say(text: string): Promise<JsonObject>;
  /** `name {arguments}` */
  run(line: string): Promise<unknown>;
}

function talk(monitor: Monitor): Talk {
  const notes: string[] = [];
  const session = monitor.openSession({ isNegotiated: true, onNote: (text) => notes.push(text) });
  const say = (text: string): Promise<JsonObject> => session.execute(parseJson(text));
  return {
    session,
    notes,
    say,
    run: async (line) => {
      const [, name = '', args = '{}'] = /^(\S+) ?(.+)?$/.exec(line) ?? [];
      const reply = await say(`{"execute":"${name}","arguments":${args}}`);
      return 'error' in reply ? (reply['error'] as JsonObject)['desc'] : reply['return'];
    },
  };
}

const nullNode = (name: string): string => `blockdev-add {"driver":"null-co","node-name":"${name}","size":1048576}`;

describe('old spellings', () => {
  it.each([
    ['blockdev-add {"driver":"null-co","id":"n"}', /'id' is spelled 'node-name' today/, "Parameter 'id' is unexpected"],
    ['blockdev-add {"driver":"null-co","node-name":"n","if":"none"}', /'if=none' is gone/, "Parameter 'if' is unexpected"],
    ['blockdev-add {"options":{"driver":"null-co","node-name":"n"}}', /'options=\{…\}' is flat today/, "Parameter 'driver' is missing"],
    ['blockdev-add {"driver":"raw","node-name":"n","file.driver":"null-co"}', /dotted keys are nested objects/, "Parameter 'file' is missing"],
  ])('%s is accepted with a note, and is an error under --strict', async (line, note, error) => {
    const now = talk(makeMonitor(false));
    expect(await now.run(line)).toEqual({});
    expect(now.notes).toEqual([expect.stringMatching(note)]);
    expect(now.session.monitor.engine.graph.find('n')).toBeDefined();
    const strict = talk(makeMonitor(true));
    expect(await strict.run(line)).toBe(error);
    expect(strict.notes).toEqual([]);
  });

  it('today’s spelling has no note', async () => {
    const { run, notes } = talk(makeMonitor(false));
    expect(await run(nullNode('n'))).toEqual({});
    expect(notes).toEqual([]);
  });

  it('another interface than none is no old form that can be followed', async () => {
    const { run } = talk(makeMonitor(false));
    expect(await run('blockdev-add {"driver":"null-co","node-name":"n","if":"ide"}')).toBe("Parameter 'if' is unexpected");
  });

  it('drive_del is a command here, and none under --strict', async () => {
    const now = talk(makeMonitor(false));
    await now.run(nullNode('n'));
    expect(await now.run('drive_del {"id":"n"}')).toEqual({});
    expect(now.notes).toEqual([expect.stringContaining('blockdev-del')]);
    const strict = talk(makeMonitor(true));
    expect(await strict.run('drive_del {"id":"n"}')).toBe('The command drive_del has not been found');
  });

  it('deprecated commands name their successor', async () => {
    const { run, notes } = talk(makeMonitor(false));
    await run(nullNode('a'));
    await run(nullNode('b'));
    await run('blockdev-backup {"device":"a","target":"b","sync":"none","job-id":"j"}');
    expect(await run('block-job-pause {"device":"j"}')).toEqual({});
    expect(notes).toEqual(["block-job-pause: deprecated, 'job-pause' is the command today"]);
  });

  it('completing a backup with sync=none ends it, and is an error under --strict', async () => {
    for (const isStrict of [false, true]) {
      const { run, notes } = talk(makeMonitor(isStrict));
      await run(nullNode('a'));
      await run(nullNode('b'));
      await run('blockdev-backup {"device":"a","target":"b","sync":"none","job-id":"j"}');
      const answer = await run('block-job-complete {"device":"j"}');
      expect(answer).toEqual(isStrict ? "Job 'j' in state 'running' cannot accept command verb 'complete'" : {});
      expect(notes).toEqual(isStrict ? [] : [expect.stringContaining('block-job-cancel')]);
      expect(await run('query-jobs')).toHaveLength(isStrict ? 1 : 0);
    }
  });

  it("job-complete is today's command and refuses a running backup; so does block-job-complete one that copies", async () => {
    const { run, notes } = talk(makeMonitor(false));
    for (const name of ['a', 'b', 'c']) await run(nullNode(name));
    await run('blockdev-backup {"device":"a","target":"b","sync":"none","job-id":"j"}');
    expect(await run('job-complete {"id":"j"}')).toBe("Job 'j' in state 'running' cannot accept command verb 'complete'");
    await run('blockdev-backup {"device":"a","target":"c","sync":"full","speed":1,"job-id":"k"}');
    await run('job-pause {"id":"k"}');
    expect(await run('block-job-complete {"device":"k"}')).toMatch(/^Job 'k' in state '(?:running|paused)' cannot accept command verb 'complete'$/);
    expect(notes).toEqual([]);
  });
});

describe('events', () => {
  it('are not delivered before the negotiation', async () => {
    const monitor = makeMonitor(false);
    const session = monitor.openSession();
    const heard: unknown[] = [];
    session.listen((event) => heard.push(event['event']));
    monitor.engine.events.emit('STOP');
    await session.execute(parseJson('{"execute":"qmp_capabilities"}'));
    monitor.engine.events.emit('RESUME');
    expect(heard).toEqual(['RESUME']);
    session.close();
    monitor.engine.events.emit('STOP');
    expect(heard).toEqual(['RESUME']);
  });

  it('of our own go only to sessions that ask for them', () => {
    const monitor = makeMonitor(false);
    const heard: string[] = [];
    monitor.openSession({ isNegotiated: true }).listen(() => heard.push('client'));
    monitor.openSession({ isNegotiated: true, hearsOwnEvents: true }).listen(() => heard.push('shell'));
    monitor.engine.events.emit('TSIMG_SNAPSHOT_THAWED', {}, { isOwn: true });
    expect(heard).toEqual(['shell']);
  });

  it('of our own go to nobody under --strict', () => {
    const monitor = makeMonitor(true);
    const heard: unknown[] = [];
    monitor.openSession({ isNegotiated: true, hearsOwnEvents: true }).listen((event) => heard.push(event));
    monitor.engine.events.emit('TSIMG_SNAPSHOT_THAWED', {}, { isOwn: true });
    expect(heard).toEqual([]);
  });

  it('carry seconds and microseconds', () => {
    const monitor = makeMonitor(false);
    const heard: JsonObject[] = [];
    monitor.openSession({ isNegotiated: true }).listen((event) => heard.push(event));
    monitor.engine.events.emit('STOP');
    const stamp = heard[0]?.['timestamp'] as JsonObject;
    const [seconds, microseconds] = [Number(stamp['seconds']), Number(stamp['microseconds'])];
    expect(seconds).toBeGreaterThan(1_600_000_000);
    expect(Number.isInteger(microseconds) && microseconds >= 0 && microseconds < 1_000_000).toBe(true);
    expect(heard[0]).not.toHaveProperty('data');
  });
});

describe('the end', () => {
  it('tells what it takes down before it answers, and answers nobody afterwards', async () => {
    const order: unknown[] = [];
    const monitor = makeMonitor(false, () => order.push('ended'));
    const { run, session } = talk(monitor);
    await run(nullNode('a'));
    await run(nullNode('b'));
    await run('blockdev-backup {"device":"a","target":"b","sync":"none","job-id":"j"}');
    session.listen((event) => order.push(event['event']));
    expect(await run('quit')).toEqual({});
    order.push('answered');
    expect(order[0]).toBe('SHUTDOWN');
    expect(order).toContain('BLOCK_JOB_CANCELLED');
    expect(order.slice(-2)).toEqual(['ended', 'answered']);
    expect(monitor.hasQuit).toBe(true);
    expect([...monitor.engine.graph.nodes]).toEqual([]);
  });
});

describe('a bug in one command', () => {
  const thrown: readonly (readonly [title: string, error: () => unknown, told: string])[] = [
    ['a type error', () => new TypeError('x is not a function\nat somewhere'), 'internal error: TypeError: x is not a function'],
    ['too large a map', () => new RangeError('Map maximum size exceeded'), 'internal error: RangeError: Map maximum size exceeded'],
    ['a broken invariant', () => new InvariantError('two owners'), 'internal error: two owners'],
    ['what is no error', () => 'text', 'internal error: text'],
  ];

  function buggy(error: () => unknown): { monitor: Monitor; told: string[] } {
    const told: string[] = [];
    const engine = new Engine({ strict: false });
    systems.push(engine);
    engine.machine = new Machine(engine);
    const bug = defineCommand({
      name: 'x-bug',
      summary: 'throws',
      args: noArguments,
      guards: [],
      run: () => {
        throw error();
      },
    });
    return { told, monitor: new Monitor(engine, { kind: 'machine', commands: [...allCommands, bug], onQuit: () => {}, warn: (text) => told.push(text) }) };
  }

  it.each(thrown)('is its one error reply, told once: %s', async (_title, error, text) => {
    const { monitor, told } = buggy(error);
    const { run, say } = talk(monitor);
    expect(await say('{"execute":"x-bug","id":1}')).toEqual({ id: 1, error: { class: 'GenericError', desc: text } });
    expect(await run('x-bug')).toBe(text);
    expect(told).toEqual([text]);
    expect(await run('query-jobs')).toEqual([]);
    expect(await talk(monitor).run('query-jobs')).toEqual([]);
    expect(monitor.hasQuit).toBe(false);
  });

  it('has the system’s text where a call of the system failed', async () => {
    const { monitor, told } = buggy(() => Object.assign(new Error('open EACCES'), { code: 'EACCES' }));
    expect(await talk(monitor).run('x-bug')).toBe('Permission denied');
    expect(told).toEqual([]);
  });

  it('is a line of the human monitor', async () => {
    const { monitor, told } = buggy(() => 'never thrown');
    Object.defineProperty(monitor.engine.jobs, 'list', {
      configurable: true,
      value: () => {
        throw new RangeError('Invalid array length');
      },
    });
    expect(await talk(monitor).run('human-monitor-command {"command-line":"info block-jobs"}')).toBe(
      'Error: internal error: RangeError: Invalid array length\r\n',
    );
    expect(told).toHaveLength(1);
    Reflect.deleteProperty(monitor.engine.jobs, 'list');
  });
});
