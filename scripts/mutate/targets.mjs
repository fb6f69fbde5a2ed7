/*
 * What is mutated and which tests have to notice. `sample` absent: all mutants of the files; else that many, drawn by the
 * seed from all mutants of the folder but those that have a target of their own.
 */
import { readdirSync } from 'node:fs';

export const seed = 20261201;

/** But for one that opens hundreds of images. */
const blockTests = [
  'test/core/block/!(gate-depth).test.ts',
  'test/contract/{reopen,backing,filter}.test.ts',
  'test/core/drivers/*.test.ts',
  'test/engine/{actions,driver-options,probed-raw,io-commands,close}.test.ts',
  'test/jobs/{backup*,image-copy*}.test.ts',
  'test/journeys/frozen-view.test.ts',
  'test/nbd/extents.test.ts',
];
const jobTests = ['test/jobs/**/*.test.ts'];

/** Files whose mutants are all tried. */
const whole = {
  'range lock': { files: ['src/core/util/range-lock.ts'], tests: ['test/core/util/range-lock*.test.ts', 'test/core/block/requests.test.ts'] },
  drain: { files: ['src/core/block/drain.ts'], tests: ['test/core/block/{drain*,requests,opening}.test.ts'] },
  transaction: {
    files: ['src/core/block/transaction.ts', 'src/engine/ops/action.ts', 'src/engine/ops/transaction.ts'],
    tests: ['test/core/block/{transaction,drain*,edges}.test.ts', 'test/engine/{actions,objects,close}.test.ts'],
  },
  graph: {
    files: ['src/core/block/graph.ts', 'src/core/block/chain.ts'],
    tests: ['test/core/block/{graph,node-life,edges,drain*,opening,transaction}.test.ts'],
  },
  job: { files: ['src/jobs/job.ts', 'src/jobs/block-job.ts', 'src/jobs/group.ts'], tests: ['test/jobs/job*.test.ts'] },
  allocate: { files: ['src/qcow2/allocate.ts'], tests: ['test/qcow2/{allocate,allocate-link,refcounts,write-order}.test.ts'] },
  refcounts: { files: ['src/qcow2/refcounts.ts'], tests: ['test/qcow2/{refcount-changes,refcounts}.test.ts'] },
  'table cache': { files: ['src/qcow2/table-cache.ts'], tests: ['test/qcow2/table-cache.test.ts'] },
};

const sampled = {
  'core/block, sample': { folder: 'src/core/block', tests: blockTests },
  'jobs, sample': { folder: 'src/jobs', tests: jobTests },
  'qcow2, sample': {
    folder: 'src/qcow2',
    tests: [
      'test/qcow2/!(model).test.ts',
      'test/contract/{reopen,backing}.test.ts',
      'test/engine/export-bitmaps.test.ts',
      'test/core/block/gate.test.ts',
      'test/powercut/*.test.ts',
    ],
  },
  'nbd, sample': {
    folder: 'src/nbd',
    tests: ['test/nbd/{export,extents,framed-stream,framing,handshake,request-check,socket,transmission,wire}.test.ts'],
  },
};

const own = Object.values(whole).flatMap(({ files }) => files);

/** All targets by name, files listed as they are in the folder `root`. */
export function targets(root) {
  const found = { ...whole };
  for (const [name, { folder, tests }] of Object.entries(sampled)) {
    const files = readdirSync(`${root}/${folder}`)
      .filter((file) => file.endsWith('.ts'))
      .map((file) => `${folder}/${file}`)
      .filter((file) => !own.includes(file));
    found[name] = { files, tests, sample: 250 };
  }
  return found;
}

/** Tests that build programs, start processes or play for long: no mutant is worth their time. */
export const leftOut = ['test/core/storage/lock-holder.test.ts', 'test/**/hostile*.test.ts', 'test/nbd/listener.test.ts', 'test/**/power-cut*.test.ts'];
