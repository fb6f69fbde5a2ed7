import { afterEach, describe, expect, it } from 'vitest';
import { Graph } from '../../src/core/block/graph.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { EventSink } from '../../src/core/util/events.ts';
import { YieldBudget } from '../../src/core/util/maybe.ts';
import { JobGroup } from '../../src/jobs/group.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { JobBody } from '../../src/jobs/job-body.ts';
import { JobManager } from '../../src/jobs/manager.ts';
import { type JobStatus, type JobVerb, mayApply, mayBecome } from '../../src/jobs/states.ts';

/** A clock that stands still until it is moved. */
class ManualClock {
  #now = 0;
  #sleepers: { until: number; wake: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#sleepers.push({ until: this.#now + ms, wake: resolve });
      signal?.addEventListener('abort', () => resolve());
    });
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#sleepers.filter((sleeper) => sleeper.until <= this.#now);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.until > this.#now);
    for (const { wake } of due) wake();
  }
}

interface Setting {
  readonly jobs: JobManager;
  readonly clock: ManualClock;
  /** `id status`, and `EVENT id` for the others. */
  readonly log: string[];
}

function setting(): Setting {
  const clock = new ManualClock();
  const events = new EventSink(() => clock.now());
  const log: string[] = [];
  events.listen(({ name, data = {} }) => {
    log.push(name === 'JOB_STATUS_CHANGE' ? `${data['id']} ${data['status']}` : `${name} ${data['device'] ?? data['id']}`);
  });
  return { jobs: new JobManager(new Graph(), events, clock, new YieldBudget()), clock, log };
}

const turns = async (count = 5): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

type Run = (job: Job) => Promise<void>;
const idle: Run = (job) => job.idleUntilEnd();
const atOnce: Run = async () => {};
const failing: Run = async () => {
  throw new BlockError('Input/output error', { code: 'EIO' });
};

interface Given extends Partial<JobBody> {
  readonly id?: string;
  readonly autoFinalize?: boolean;
  readonly autoDismiss?: boolean;
  readonly speed?: number;
}

let current: JobManager | undefined;
afterEach(async () => {
  await current?.cancelAll();
  current = undefined;
});

function make({ jobs }: Setting, run: Run, given: Given = {}, group?: JobGroup): Job {
  current = jobs;
  const { id = 'j', autoFinalize = true, autoDismiss = true, speed = 0, ...rest } = given;
  return jobs.create({ type: 'backup', run, clean: async () => {}, ...rest }, { id, autoFinalize, autoDismiss, speed }, group);
}

function started(where: Setting, run: Run, given: Given = {}, group?: JobGroup): Job {
  const job = make(where, run, given, group);
  job.start();
  return job;
}

describe('the job state machine', () => {
  const states: readonly JobStatus[] = ['created', 'running', 'paused', 'ready', 'standby', 'waiting', 'pending', 'aborting', 'concluded', 'null'];

  // one row a state, one column a target, in the order above (QEMU: JobSTT)
  it.each([
    ['created', '.x.....x.x'],
    ['running', '..xx.x.x..'],
    ['paused', '.x........'],
    ['ready', '....xx.x..'],
    ['standby', '...x......'],
    ['waiting', '......xx..'],
    ['pending', '.......xx.'],
    ['aborting', '........x.'],
    ['concluded', '.........x'],
    ['null', '..........'],
  ] as const)('goes from %s only where it may', (from, row) => {
    expect(states.map((to) => (mayBecome(from, to) ? 'x' : '.')).join('')).toBe(row);
  });

  it('begins as created only', () => {
    expect(states.filter((to) => mayBecome(undefined, to))).toEqual(['created']);
  });

  // the same columns (QEMU: JobVerbTable)
  it.each([
    ['cancel', 'xxxxxxx...'],
    ['pause', 'xxxxx.....'],
    ['resume', 'xxxxx.....'],
    ['set-speed', 'xxxxx.....'],
    ['complete', '...xx.....'],
    ['finalize', '......x...'],
    ['dismiss', '........x.'],
    ['change', 'xxxxx.....'],
  ] as const)('takes the verb %s only where it may', (verb, row) => {
    expect(states.map((state) => (mayApply(verb as JobVerb, state) ? 'x' : '.')).join('')).toBe(row);
  });

  it('runs to the end by itself', async () => {
    const where = setting();
    started(where, atOnce);
    expect(where.log).toEqual(['j created', 'j running']);
    await turns();
    expect(where.log).toEqual(['j created', 'j running', 'j waiting', 'j pending', 'BLOCK_JOB_COMPLETED j', 'j concluded', 'j null']);
    expect(() => where.jobs.find('j')).toThrow('Job not found');
  });

  it('waits for job-finalize and job-dismiss when told to', async () => {
    const where = setting();
    const job = started(where, atOnce, { autoFinalize: false, autoDismiss: false });
    await turns();
    expect(where.log.splice(0)).toEqual(['j created', 'j running', 'j waiting', 'j pending', 'BLOCK_JOB_PENDING j']);
    expect(() => job.dismiss()).toThrow("Job 'j' in state 'pending' cannot accept command verb 'dismiss'");
    await job.finalize();
    expect(where.log.splice(0)).toEqual(['BLOCK_JOB_COMPLETED j', 'j concluded']);
    job.dismiss();
    expect(where.log).toEqual(['j null']);
  });

  it('cancels in pending', async () => {
    const where = setting();
    const job = started(where, atOnce, { autoFinalize: false, autoDismiss: false });
    await turns();
    where.log.length = 0;
    await job.cancel();
    expect(where.log).toEqual(['j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded']);
    expect(job.info()['error']).toBe('Operation canceled');
    job.dismiss();
  });

  it('is over when cancel settles', async () => {
    const where = setting();
    const job = started(where, idle);
    await turns();
    await job.cancel();
    expect(where.log).toEqual(['j created', 'j running', 'j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
  });

  it('keeps the error of a body that failed', async () => {
    const where = setting();
    const job = started(where, failing, { autoDismiss: false });
    await turns();
    expect(where.log).toEqual(['j created', 'j running', 'j aborting', 'BLOCK_JOB_COMPLETED j', 'j concluded']);
    expect(job.info()).toMatchObject({ status: 'concluded', error: 'Input/output error' });
    job.dismiss();
  });

  it('fails when the last step does', async () => {
    const where = setting();
    const outcome: string[] = [];
    started(where, atOnce, {
      prepare: failing as () => Promise<void>,
      commit: () => void outcome.push('commit'),
      abort: () => void outcome.push('abort'),
    });
    await turns();
    expect(where.log).toEqual(['j created', 'j running', 'j waiting', 'j pending', 'j aborting', 'BLOCK_JOB_COMPLETED j', 'j concluded', 'j null']);
    expect(outcome).toEqual(['abort']);
  });

  it('calls commit or abort once, then clean', async () => {
    for (const [run, expected] of [
      [atOnce, 'commit'],
      [failing, 'abort'],
    ] as const) {
      const where = setting();
      const outcome: string[] = [];
      const clean = async (): Promise<void> => void outcome.push('clean');
      started(where, run, { commit: () => void outcome.push('commit'), abort: () => void outcome.push('abort'), clean });
      await turns();
      expect(outcome).toEqual([expected, 'clean']);
    }
  });

  it('is gone at once when its speed was negative', () => {
    const where = setting();
    expect(() => make(where, idle, { speed: -1 })).toThrow("Parameter 'speed' expects a non-negative value");
    expect(where.log).toEqual(['j created', 'j null']);
    expect(where.jobs.list()).toEqual([]);
  });

  it.each(['', '1bad', 'a b', 'ä'])('refuses the id %j', (id) => {
    expect(() => make(setting(), idle, { id })).toThrow(`Invalid job ID '${id}'`);
  });

  it('refuses an id that is taken, and lists the newest first', () => {
    const where = setting();
    started(where, idle, { id: 'a' });
    started(where, idle, { id: 'b' });
    expect(() => make(where, idle, { id: 'a' })).toThrow("Job ID 'a' already in use");
    expect(where.jobs.list().map((job) => job.id)).toEqual(['b', 'a']);
    expect(() => where.jobs.findBlockJob('c')).toThrow("Block job 'c' not found");
  });
});

describe('pausing', () => {
  it('takes effect at once while the body is idle', async () => {
    const where = setting();
    const job = started(where, idle);
    await turns();
    job.userPause();
    expect(job.status).toBe('paused');
    expect(() => job.userPause()).toThrow('Job is already paused');
    job.userResume();
    expect(job.status).toBe('running');
    expect(() => job.userResume()).toThrow("Can't resume a job that was not paused");
    await job.cancel();
    expect(where.log).toEqual(['j created', 'j running', 'j paused', 'j running', 'j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
  });

  it('counts the pauses of drained sections apart from the user’s', async () => {
    const where = setting();
    const job = started(where, idle);
    await turns();
    job.userPause();
    void job.quiesce();
    job.userResume();
    expect(job.status).toBe('paused');
    job.resume();
    expect(job.status).toBe('running');
  });

  it('stops a working body at its next pause point only', async () => {
    const where = setting();
    let release = (): void => {};
    const working = new Promise<void>((resolve) => {
      release = resolve;
    });
    let steps = 0;
    const job = started(where, async (self) => {
      await working;
      steps++;
      await self.pausePoint();
      steps++;
    });
    await turns();
    let isQuiet = false;
    void Promise.resolve(job.quiesce()).then(() => {
      isQuiet = true;
    });
    await turns();
    expect([job.status, isQuiet]).toEqual(['running', false]);
    release();
    await turns();
    expect([job.status, isQuiet, steps]).toEqual(['paused', true, 1]);
    job.resume();
    await job.whenEnded();
    expect(steps).toBe(2);
  });

  it('is quiet when the body ends instead', async () => {
    const where = setting();
    let release = (): void => {};
    const job = started(where, () => new Promise<void>((resolve) => (release = resolve)));
    await turns();
    const quiet = job.quiesce();
    release();
    await quiet;
    job.resume();
    await job.whenEnded();
    expect(where.log).not.toContain('j paused');
  });

  it('holds a job that begins inside a drained section', async () => {
    const where = setting();
    let isBegun = false;
    const job = make(where, async () => {
      isBegun = true;
    });
    void job.quiesce();
    job.start();
    await turns();
    expect([where.log, isBegun]).toEqual([['j created', 'j running', 'j paused'], false]);
    job.resume();
    await turns();
    expect(isBegun).toBe(true);
  });

  it('ends when the job is cancelled, but not inside a drained section', async () => {
    const where = setting();
    const job = started(where, idle);
    await turns();
    job.userPause();
    void job.quiesce();
    const cancelling = job.cancel();
    await turns();
    expect(job.status).toBe('paused');
    job.resume();
    await cancelling;
    expect(where.log.slice(2)).toEqual(['j paused', 'j running', 'j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
  });

  it('of a ready job is standby', async () => {
    const where = setting();
    const job = started(where, async (self) => {
      self.enterReady();
      await self.idleUntilEnd();
    });
    expect(() => job.complete()).toThrow("Job 'j' in state 'running' cannot accept command verb 'complete'");
    await turns();
    job.userPause();
    expect(job.status).toBe('standby');
    expect(job.blockInfo()).toMatchObject({ ready: true, paused: true, busy: false });
    job.complete();
    await turns();
    expect(job.status).toBe('standby');
    job.userResume();
    await job.whenEnded();
    expect(where.log).toEqual([
      'j created',
      'j running',
      'j ready',
      'BLOCK_JOB_READY j',
      'j standby',
      'j ready',
      'j waiting',
      'j pending',
      'BLOCK_JOB_COMPLETED j',
      'j concluded',
      'j null',
    ]);
  });
});

describe('errors of the media', () => {
  const full = new BlockError('No space left on device', { code: 'ENOSPC' });
  const broken = new BlockError('Input/output error', { code: 'EIO' });

  it.each([
    ['report', full, 'report'],
    ['report', broken, 'report'],
    ['enospc', broken, 'report'],
    ['auto', broken, 'report'],
    ['enospc', full, 'stop'],
    ['auto', full, 'stop'],
    ['stop', broken, 'stop'],
    ['stop', full, 'stop'],
    ['ignore', full, 'ignore'],
  ] as const)('under %s: %o → %s', async (policy, error, action) => {
    const where = setting();
    let tries = 0;
    const job = started(
      where,
      async (self) => {
        for (tries = 1; tries < 3; tries++) await self.onIoError('write', policy, error);
      },
      { autoDismiss: false },
    );
    await turns();
    expect(where.log.slice(2, 4)).toEqual(
      action === 'report'
        ? ['BLOCK_JOB_ERROR j', 'j aborting']
        : action === 'stop'
          ? ['BLOCK_JOB_ERROR j', 'j paused']
          : ['BLOCK_JOB_ERROR j', 'BLOCK_JOB_ERROR j'],
    );
    if (action !== 'stop') return;
    expect(job.blockInfo()['io-status']).toBe(error === full ? 'nospace' : 'failed');
    expect(() => job.userPause()).toThrow('Job is already paused');
    job.userResume();
    expect(job.blockInfo()['io-status']).toBe('ok');
    await turns();
    expect(tries).toBe(2);
  });
});

describe('jobs that end together', () => {
  const pair = (where: Setting, first: Run, second: Run, given: Given = {}): [Job, Job] => {
    const group = new JobGroup();
    return [started(where, first, { id: 'a', ...given }, group), started(where, second, { id: 'b' }, group)];
  };

  it('wait for each other and conclude newest first', async () => {
    const where = setting();
    let release = (): void => {};
    const late = new Promise<void>((resolve) => {
      release = resolve;
    });
    pair(where, atOnce, () => late);
    await turns();
    expect(where.log.splice(0)).toEqual(['a created', 'a running', 'b created', 'b running', 'a waiting']);
    release();
    await turns();
    expect(where.log).toEqual([
      'b waiting',
      'b pending',
      'a pending',
      'BLOCK_JOB_COMPLETED b',
      'b concluded',
      'b null',
      'BLOCK_JOB_COMPLETED a',
      'a concluded',
      'a null',
    ]);
  });

  it('are finalized by one command when one of them wants to be told', async () => {
    const where = setting();
    const [, second] = pair(where, atOnce, atOnce, { autoFinalize: false });
    await turns();
    expect(where.log.splice(0).slice(-3)).toEqual(['b pending', 'a pending', 'BLOCK_JOB_PENDING a']);
    await second.finalize();
    expect(where.log).toEqual(['BLOCK_JOB_COMPLETED b', 'b concluded', 'b null', 'BLOCK_JOB_COMPLETED a', 'a concluded', 'a null']);
  });

  it('are all cancelled when one fails', async () => {
    const where = setting();
    pair(where, failing, idle);
    await turns(10);
    expect(where.log.slice(4)).toEqual([
      'a aborting',
      'b aborting',
      'BLOCK_JOB_CANCELLED b',
      'b concluded',
      'b null',
      'BLOCK_JOB_COMPLETED a',
      'a concluded',
      'a null',
    ]);
  });

  it('are all cancelled when a running one is', async () => {
    const where = setting();
    const [first] = pair(where, idle, idle);
    await turns();
    await first.cancel();
    await turns();
    expect(where.log.slice(4)).toEqual([
      'a aborting',
      'b aborting',
      'BLOCK_JOB_CANCELLED b',
      'b concluded',
      'b null',
      'BLOCK_JOB_CANCELLED a',
      'a concluded',
      'a null',
    ]);
  });

  it('are all cancelled when a waiting one is', async () => {
    const where = setting();
    const [first] = pair(where, atOnce, idle);
    await turns();
    where.log.length = 0;
    await first.cancel();
    expect(where.log).toEqual(['b aborting', 'BLOCK_JOB_CANCELLED b', 'b concluded', 'b null', 'a aborting', 'BLOCK_JOB_CANCELLED a', 'a concluded', 'a null']);
  });

  it('that never began leave without an event of their own', async () => {
    const where = setting();
    const job = make(where, idle, { autoDismiss: false });
    await job.cancel();
    expect(where.log).toEqual(['j created', 'j aborting', 'j concluded', 'j null']);
  });
});

describe('the speed limit', () => {
  it('lets a slice through, then makes the job wait', async () => {
    const where = setting();
    let done = 0;
    const job = started(
      where,
      async (self) => {
        for (; done < 5 && !self.isCancelled; done++) {
          await self.pausePoint();
          await self.limitRate(100);
        }
      },
      { speed: 1000 },
    );
    await turns();
    expect(done).toBe(0);
    for (let slice = 1; slice <= 3; slice++) {
      where.clock.advance(100);
      await turns();
      expect(done).toBe(slice);
    }
    job.setSpeed(0);
    await turns();
    expect(done).toBe(5);
  });

  it('does not keep a job from being paused or cancelled', async () => {
    const where = setting();
    const job = started(
      where,
      async (self) => {
        await self.limitRate(1_000_000);
        if (!self.isCancelled) await self.pausePoint();
      },
      { speed: 10 },
    );
    await turns();
    job.userPause();
    expect(job.status).toBe('paused');
    await job.cancel();
    expect(job.status).toBe('null');
  });

  it('cannot be negative', () => {
    const job = started(setting(), idle);
    expect(() => job.setSpeed(-1)).toThrow("Parameter 'speed' expects a non-negative value");
  });
});
