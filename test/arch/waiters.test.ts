/*
 * Queues of those who wait exist in three files: two locks, which hand over, and waiters.ts, which only wakes. Who stands in
 * waiters.ts is named here with the reason: a hand-made wait beside the locks is how guests come to wait for ever.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/run.ts';

const homes = ['src/core/util/mutex.ts', 'src/core/util/range-lock.ts', 'src/core/util/waiters.ts'];
/** Queues that are no waiting for each other: replies in the order of the questions; room for replies, promised in order. */
const others = ['src/monitor/qmp-client.ts', 'src/nbd/session.ts'];

/** Files that wait for something to happen, and for what. */
const users: Readonly<Record<string, string>> = {
  'src/core/block/backend.ts': 'the end of a drained section; nothing in flight',
  'src/core/block/node.ts': 'nothing in flight',
  'src/core/drivers/blkdebug-rules.ts': 'a request that stops at a breakpoint',
  'src/core/objects/throttle.ts': 'a turn under the limits of a throttle group',
  'src/core/storage/local-open.ts': 'one of the two places for opens in the thread pool',
  'src/jobs/job.ts': 'a kick, a pause, the end of the body, the end of the job',
  'src/machine/workload.ts': "the guest's requests in flight",
  'src/monitor/outbox.ts': 'a client that takes its replies',
  'src/monitor/qmp-server.ts': 'the first client',
};

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'src/*.ts'], { cwd: projectRoot, encoding: 'utf8' })
  .trim()
  .split('\n');
const read = (file: string): string => readFileSync(join(projectRoot, file), 'utf8');

describe('queues of waiters', () => {
  it('the scanner looked, and knows one when it sees it', () => {
    expect(files.length).toBeGreaterThan(200);
    expect(homes.filter((file) => isQueue(read(file)))).toEqual(homes);
  });

  it('are in the named files only', () => {
    expect(files.filter((file) => isQueue(read(file))).sort()).toEqual([...homes, ...others]);
  });

  it('have the users that are named', () => {
    expect(files.filter((file) => /new Waiters\(\)/.test(read(file))).sort()).toEqual(Object.keys(users).sort());
  });
});

/** Puts the resolver of a promise on a list. */
function isQueue(text: string): boolean {
  return [...text.matchAll(/new Promise(?:<[^>]*>)?\(\(?(\w+)/g)].some(({ index, 1: resolver = '' }) =>
    new RegExp(`\\.push\\((?:\\{[^}]*\\b)?${resolver}\\b`).test(text.slice(index, index + 200)),
  );
}
