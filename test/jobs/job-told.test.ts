/* What a job tells of itself, in events and queries, and what it keeps others from while it lives. */
import { describe, expect, it } from 'vitest';
import { Graph } from '../../src/core/block/graph.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { EventSink } from '../../src/core/util/events.ts';
import { YieldBudget } from '../../src/core/util/maybe.ts';
import { BlockJob } from '../../src/jobs/block-job.ts';
import type { BlockJobBody } from '../../src/jobs/job-body.ts';
import { JobManager } from '../../src/jobs/manager.ts';
import { FakeNode } from '../support/fake-node.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { atOnce, idle, make, type Run, setting, started, turns } from './job-support.ts';

/** A job with 7 of 10 bytes done and a speed of 5, and every event of it. */
function told(run: Run, given: Partial<BlockJobBody> & { readonly autoFinalize?: boolean } = {}): { readonly job: BlockJob; readonly events: unknown[] } {
  const clock = new ManualClock();
  const sink = new EventSink(() => clock.now());
  const events: unknown[] = [];
  sink.listen(({ name, data }) => void (name !== 'JOB_STATUS_CHANGE' && events.push([name, data])));
  const options = { id: 'j', autoFinalize: given.autoFinalize ?? true, autoDismiss: false, speed: 5 };
  const jobs = new JobManager(new Graph(), sink, clock, new YieldBudget());
  const job = jobs.create(options, (host) => new BlockJob(host, { type: 'mirror', run, clean: async () => {}, ...given }, options));
  job.current = 7;
  job.total = 10;
  job.start();
  return { job, events };
}

const progress = { type: 'mirror', device: 'j', len: 10, offset: 7, speed: 5 };

describe('the events of a block job', () => {
  it('tell how far it came when it is done', async () => {
    const { job, events } = told(atOnce);
    await job.whenEnded();
    expect(events).toEqual([['BLOCK_JOB_COMPLETED', progress]]);
  });

  it('tell why it failed', async () => {
    const { job, events } = told(async () => {
      throw new BlockError('No space left on device', { code: 'ENOSPC' });
    });
    await job.whenEnded();
    expect(events).toEqual([['BLOCK_JOB_COMPLETED', { ...progress, error: 'No space left on device' }]]);
  });

  it('tell a cancelled one without an error', async () => {
    const { job, events } = told(idle);
    await job.cancel();
    expect(events).toEqual([['BLOCK_JOB_CANCELLED', progress]]);
  });

  it('tell when it is ready, and when it waits to be finalized', async () => {
    const { job, events } = told(async (self) => self.enterReady(), { autoFinalize: false });
    await turns();
    expect(events).toEqual([
      ['BLOCK_JOB_READY', progress],
      ['BLOCK_JOB_PENDING', { type: 'mirror', id: 'j' }],
    ]);
    await job.finalize();
  });

  it('tell of a failed request what was tried and what comes of it', async () => {
    const { job, events } = told((self) => self.onIoError('read', 'ignore', new BlockError('Input/output error', { code: 'EIO' })));
    await job.whenEnded();
    expect(events[0]).toEqual(['BLOCK_JOB_ERROR', { device: 'j', operation: 'read', action: 'ignore' }]);
  });
});

describe('the queries of a job', () => {
  it('show a failure and what is done as they are named by QAPI', async () => {
    const { job } = told(async () => {
      throw new BlockError('Input/output error', { code: 'EIO' });
    });
    expect(job.info()).toEqual({ id: 'j', type: 'mirror', status: 'running', 'current-progress': 7, 'total-progress': 10 });
    await job.whenEnded();
    expect(job.info()).toEqual({ id: 'j', type: 'mirror', status: 'concluded', 'current-progress': 7, 'total-progress': 10, error: 'Input/output error' });
    expect(job.blockInfo()).toEqual({
      ...progress,
      ...{ busy: false, paused: false, 'io-status': 'ok', ready: false, status: 'concluded', 'auto-finalize': true, 'auto-dismiss': false },
      error: 'Input/output error',
    });
  });

  it('call a job busy while its body works, and not while that waits, is paused, or is over', async () => {
    let release = (): void => {};
    const job = make(setting(), async (self) => {
      await new Promise<void>((resolve) => (release = resolve));
      await self.idleUntilEnd();
    });
    const busy = (): unknown => job.blockInfo()['busy'];
    expect(busy()).toBe(false);
    job.start();
    // its first turn has not come
    await turns(1);
    await turns(2);
    expect(busy()).toBe(true);
    release();
    await turns();
    expect(busy()).toBe(false);
    job.userPause();
    expect([busy(), job.blockInfo()['paused']]).toEqual([false, true]);
    await job.cancel();
    expect(busy()).toBe(false);
  });

  it('never call a job busy whose copies run beside it', async () => {
    let release = (): void => {};
    const job = started(setting(), () => new Promise<void>((resolve) => (release = resolve)), { worksBeside: true });
    await turns();
    expect(job.blockInfo()['busy']).toBe(false);
    release();
    await job.whenEnded();
  });

  it('call a mirror ready until it ends', async () => {
    const job = started(setting(), async (self) => {
      self.enterReady();
      await self.idleUntilEnd();
    });
    expect(job.blockInfo()['ready']).toBe(false);
    await turns();
    expect(job.blockInfo()['ready']).toBe(true);
    job.complete();
    await job.whenEnded();
    expect(job.blockInfo()['ready']).toBe(false);
  });
});

describe('a bug in a body', () => {
  const withBug = async (bug: unknown): Promise<BlockError | undefined> => {
    const job = started(setting(), async () => {
      throw bug;
    });
    await job.whenEnded();
    return job.error;
  };

  it('is told apart from errors of the medium', async () => {
    const bug = new TypeError('x is not a function');
    expect(await withBug(bug)).toMatchObject({ message: 'internal error: TypeError: x is not a function', code: 'ERR_INTERNAL', cause: bug });
    expect(await withBug('no error at all')).toMatchObject({ message: 'internal error: no error at all', code: 'ERR_INTERNAL' });
  });

  it('in its last step fails the job, and in its effect too', async () => {
    const bug = (): never => {
      throw new TypeError('bug');
    };
    for (const given of [{ prepare: async () => bug() }, { commit: bug }]) {
      const job = started(setting(), atOnce, { ...given, autoDismiss: false });
      await job.whenEnded();
      expect([job.status, job.error?.message]).toEqual(['concluded', 'internal error: TypeError: bug']);
      job.dismiss();
    }
  });

  it('in undoing leaves the error that came first', async () => {
    const job = started(
      setting(),
      async () => {
        throw new BlockError('Input/output error', { code: 'EIO' });
      },
      {
        abort: () => {
          throw new TypeError('bug');
        },
      },
    );
    await job.whenEnded();
    expect(job.error?.message).toBe('Input/output error');
  });
});

describe('a job on nodes', () => {
  it('keeps commands away from them until it is over, and says who it is', async () => {
    const where = setting();
    const { node } = new FakeNode('disk');
    const job = started(where, idle);
    job.addNode('main node', node);
    expect([job.describe(), job.usedNodes, job.edges.map((edge) => edge.name), job.stayAtNode]).toEqual(["backup job 'j'", [node], ['main node'], true]);
    expect(() => node.blockers.check('resize')).toThrow("Node 'disk' is busy: block device is in use by block job: backup");
    expect(node.blockers.list()[0]).toMatchObject({ owner: "job 'j'" });
    expect(node.parents.map((edge) => edge.parent)).toEqual([job]);
    await job.cancel();
    expect([node.blockers.isEmpty, node.parents, job.usedNodes]).toEqual([true, [], []]);
  });

  it('that was never begun lets them go, and tells what it is told to', () => {
    const where = setting();
    const { node } = new FakeNode('disk');
    const job = make(where, idle);
    job.addNode('main node', node);
    job.discard('aborting', 'concluded');
    expect(where.log).toEqual(['j created', 'j aborting', 'j concluded', 'j null']);
    expect([node.blockers.isEmpty, where.jobs.list()]).toEqual([true, []]);
  });
});

describe('the rests of a body', () => {
  it('end early when the job is kicked, and leave no timer behind', async () => {
    const where = setting();
    const ends: string[] = [];
    const job = started(where, async (self) => {
      await self.sleep(0);
      ends.push('none');
      await self.sleep(1000);
      ends.push('first');
      await self.sleep(1000);
      ends.push('second');
    });
    await turns();
    expect([ends, where.clock.waiting]).toEqual([['none'], 1]);
    job.kick();
    await turns();
    expect([ends, where.clock.waiting]).toEqual([['none', 'first'], 1]);
    where.clock.advance(1000);
    await job.whenEnded();
    expect([ends, where.clock.waiting]).toEqual([['none', 'first', 'second'], 0]);
  });

  it('are none once it is cancelled', async () => {
    const where = setting();
    const job = started(where, async (self) => {
      await self.idleUntilEnd();
      await self.sleep(1000);
    });
    await turns();
    await job.cancel();
    expect(job.status).toBe('null');
  });

  it('end with another speed, of which the body is told', async () => {
    const where = setting();
    let speeds = 0;
    let isOver = false;
    const job = started(
      where,
      async (self) => {
        await self.sleep(1000);
        isOver = true;
      },
      { onSpeed: () => speeds++ },
    );
    await turns();
    job.setSpeed(100);
    await turns();
    expect([speeds, job.speed, isOver]).toEqual([1, 100, true]);
    expect(() => job.setSpeed(1)).toThrow("Job 'j' in state 'null' cannot accept command verb 'set-speed'");
  });
});

describe('a job out of its order', () => {
  it('refuses to go on more often than it was stopped', async () => {
    const job = started(setting(), idle);
    expect(() => job.resume()).toThrow('resume without pause');
    await job.cancel();
  });

  it('refuses a state that does not follow', async () => {
    const job = started(setting(), idle);
    expect(() => job.becomePending()).toThrow('job running → pending');
    await job.cancel();
    await job.cancel();
    await job.whenEnded();
  });

  it('refuses verbs with a code that says it is the state', async () => {
    const job = started(setting(), idle);
    await turns();
    const codeOf = (verb: () => void): unknown => {
      try {
        verb();
      } catch (error) {
        return (error as BlockError).code;
      }
      return undefined;
    };
    expect([codeOf(() => job.complete()), codeOf(() => job.userResume()), codeOf(() => job.setSpeed(-1))]).toEqual(['ERR_STATE', 'ERR_STATE', 'ERR_OPTION']);
    job.userPause();
    expect(codeOf(() => job.userPause())).toBe('ERR_STATE');
    await job.cancel();
  });

  it('that is cancelled is not paused any more', async () => {
    const where = setting();
    let release = (): void => {};
    const job = started(where, () => new Promise<void>((resolve) => (release = resolve)));
    await turns();
    const cancelling = job.cancel();
    job.userPause();
    expect([job.isUserPaused, job.isPaused]).toEqual([false, false]);
    release();
    await cancelling;
    expect(job.error).toMatchObject({ message: 'Operation canceled', code: 'ECANCELED' });
  });
});
