import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import { Job } from '../../src/jobs/job.ts';
import { type JobStatus, type JobVerb, mayApply, mayBecome } from '../../src/jobs/states.ts';
import { atOnce, failing, idle, make, type Run, setting, started, turns } from './job-support.ts';

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
    job.quiesce();
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
    job.quiesce();
    void Promise.resolve(job.whenIdle()).then(() => {
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
    job.quiesce();
    const quiet = job.whenIdle();
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
    job.quiesce();
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
    job.quiesce();
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

describe('a soft cancel', () => {
  const ready: Run = async (job) => {
    job.enterReady();
    await job.idleUntilEnd();
  };

  it('lets a ready job finish, and tells its body that it has no effect', async () => {
    const where = setting();
    let seen: unknown;
    const job = started(where, async (self) => {
      await ready(self);
      seen = { toEnd: self.isToEnd, cancelled: self.isCancelled, complete: self.shouldComplete };
    });
    await turns();
    job.cancelSoftly();
    await job.whenEnded();
    expect(seen).toEqual({ toEnd: true, cancelled: false, complete: false });
    expect(where.log.slice(-5)).toEqual(['j waiting', 'j pending', 'BLOCK_JOB_COMPLETED j', 'j concluded', 'j null']);
  });

  it('becomes one by force when that is asked for', async () => {
    const where = setting();
    const job = started(where, async (self) => {
      self.enterReady();
      await turns(4);
    });
    await turns(2);
    job.cancelSoftly();
    await job.cancel();
    expect(where.log.slice(-4)).toEqual(['j aborting', 'BLOCK_JOB_CANCELLED j', 'j concluded', 'j null']);
  });

  it('of a job in standby lets it go on to its end', async () => {
    const where = setting();
    const job = started(where, ready);
    await turns();
    job.userPause();
    job.cancelSoftly();
    await job.whenEnded();
    expect(where.log).toContain('BLOCK_JOB_COMPLETED j');
  });

  it('is for ready jobs only', async () => {
    const job = started(setting(), idle);
    await turns();
    expect(() => job.cancelSoftly()).toThrow('not ready');
  });
});

describe('a job that is on no nodes', () => {
  it('tells its states and no events of block jobs, and is none', async () => {
    const where = setting();
    const options = { id: 'j', autoFinalize: false, autoDismiss: false };
    const job = where.jobs.create(options, (host) => new Job(host, { type: 'create', run: async () => {}, clean: async () => {} }, options));
    job.start();
    await turns();
    expect(where.jobs.blockJobs()).toEqual([]);
    expect(() => where.jobs.findBlockJob('j')).toThrow("Block job 'j' not found");
    await where.jobs.find('j').finalize();
    job.dismiss();
    expect(where.log).toEqual(['j created', 'j running', 'j waiting', 'j pending', 'j concluded', 'j null']);
  });
});
