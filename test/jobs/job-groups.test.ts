import { describe, expect, it } from 'vitest';
import type { BlockJob } from '../../src/jobs/block-job.ts';
import { JobGroup } from '../../src/jobs/group.ts';
import { FakeNode, userOf } from '../support/fake-node.ts';
import { atOnce, failing, type Given, idle, make, type Run, type Setting, setting, started, turns } from './job-support.ts';

describe('jobs that end together', () => {
  const pair = (where: Setting, first: Run, second: Run, given: Given = {}): [BlockJob, BlockJob] => {
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

  it('conclude in one turn: no change of the graph comes between the first and the last', async () => {
    const where = setting();
    const clean = async (): Promise<void> => {
      void where.graph.turn(async () => void where.log.push('another change'));
      await turns(2);
    };
    const [first] = pair(where, atOnce, atOnce, { clean });
    await first.whenEnded();
    await turns();
    expect(where.log.slice(-4)).toEqual(['BLOCK_JOB_COMPLETED a', 'a concluded', 'a null', 'another change']);
  });

  it('conclude when nothing is in flight on the nodes of any of them, and hold back what comes meanwhile', async () => {
    const where = setting();
    const [one, other] = [new FakeNode('one'), new FakeNode('other')];
    const [userOfOne, userOfOther] = [userOf(one.node, where.graph), userOf(other.node, where.graph)];
    const counts: number[][] = [];
    const clean = async (): Promise<void> => {
      // its jobs have left their nodes by now
      counts.push([one, other].map(({ node }) => node.quiesceCount));
      void Promise.resolve(userOfOther.read(0, new Uint8Array(1)));
      await turns(1);
    };
    const [first, second] = pair(where, atOnce, atOnce, { clean });
    first.addNode('main', one.node);
    second.addNode('main', other.node);
    one.hold('write');
    const writing = Promise.resolve(userOfOne.write(0, new Uint8Array(1)));
    await turns();
    expect([first.status, second.status]).toEqual(['pending', 'pending']);
    await one.release();
    await Promise.all([first.whenEnded(), second.whenEnded(), writing]);
    await turns(1);
    expect(counts).toEqual([[1, 1]]);
    expect(other.log).toEqual(['quiesce', 'resume', 'read 0+1']);
    expect([one, other].map(({ node }) => node.quiesceCount)).toEqual([0, 0]);
  });

  it('do not wait for one that was taken back before it began', async () => {
    const where = setting();
    const group = new JobGroup();
    const first = started(where, atOnce, { id: 'a' }, group);
    make(where, idle, { id: 'b' }, group).discard();
    await first.whenEnded();
    expect(where.log.slice(-3)).toEqual(['BLOCK_JOB_COMPLETED a', 'a concluded', 'a null']);
  });

  it('are prepared once, also when two commands finalize them', async () => {
    const where = setting();
    let prepared = 0;
    const [first, second] = pair(where, atOnce, atOnce, {
      autoFinalize: false,
      prepare: async () => {
        prepared++;
        await turns(2);
      },
    });
    await turns();
    await Promise.all([first.finalize(), second.finalize()]);
    expect(prepared).toBe(1);
    expect(where.log.slice(-6)).toEqual(['BLOCK_JOB_COMPLETED b', 'b concluded', 'b null', 'BLOCK_JOB_COMPLETED a', 'a concluded', 'a null']);
  });

  it('are undone when one is cancelled while another is prepared', async () => {
    const where = setting();
    const outcome: string[] = [];
    const tell = (name: string): Given => ({ commit: () => void outcome.push(`${name} commit`), abort: () => void outcome.push(`${name} abort`) });
    const group = new JobGroup();
    const prepare = async (): Promise<void> => turns(3);
    const first = started(where, atOnce, { id: 'a', autoFinalize: false, prepare, ...tell('a') }, group);
    started(where, atOnce, { id: 'b', ...tell('b') }, group);
    await turns();
    const finalized = first.finalize();
    await turns(1);
    await first.cancel();
    await finalized;
    expect(outcome).toEqual(['b abort', 'a abort']);
    expect(where.log.filter((line) => line.startsWith('BLOCK_JOB'))).toEqual(['BLOCK_JOB_PENDING a', 'BLOCK_JOB_CANCELLED b', 'BLOCK_JOB_CANCELLED a']);
  });

  it('go on to their end when the clean-up of one fails', async () => {
    const where = setting();
    const [first, second] = pair(where, atOnce, atOnce, { clean: failing as () => Promise<void> });
    await Promise.all([first.whenEnded(), second.whenEnded()]);
    expect(first.error?.message).toBe('Input/output error');
    expect(second.error).toBeUndefined();
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
          await self.sleep(self.limit.delayFor(100));
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
        await self.sleep(self.limit.delayFor(1_000_000));
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
