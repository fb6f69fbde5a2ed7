/* The one-shot commands run in little memory and time: one GiB of address space, two seconds of processor time. */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtProgram, type Finished, run } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const limits = ['--as=1073741824', '--cpu=2'];
// later versions of Node need more address space to start at all
const startsAnyProgram = spawnSync('prlimit', [...limits, process.execPath, '-e', '0']).status === 0;
if (!startsAnyProgram) console.warn(`LEFT OUT: limits (needs prlimit, and a Node that starts within 1 GiB; this is ${process.version})`);

function limited(...args: string[]): Promise<Finished> {
  return run('prlimit', [...limits, process.execPath, builtProgram('tsimg'), ...args]);
}

describe.runIf(startsAnyProgram)('within 1 GiB of address space and 2 s of processor time', () => {
  let folder: TempFolder;
  beforeAll(async () => {
    folder = tempFolder('limits');
    const made = await run(process.execPath, [
      builtProgram('tsimg'),
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'preallocation=metadata',
      folder.file('a.qcow2'),
      '4G',
    ]);
    expect(made).toEqual({ code: 0, stdout: '', stderr: '' });
  });
  afterAll(() => folder[Symbol.dispose]());

  it.each([
    { args: ['create', '-f', 'qcow2', '-o', 'preallocation=metadata', 'NEW', '4G'], says: /^Formatting / },
    { args: ['create', '-f', 'raw', 'NEW', '1T'], says: /^Formatting / },
    { args: ['info', 'OLD'], says: /virtual size: 4 GiB/ },
    { args: ['check', 'OLD'], says: /No errors were found/ },
    { args: ['map', 'OLD'], says: /^Offset +Length/ },
    { args: ['map', '--output=json', 'OLD'], says: /"start": 0/ },
  ])('tsimg $args.0 $args.1 runs', async ({ args, says }) => {
    const { code, stdout, stderr } = await limited(
      ...args.map((word) => (word === 'NEW' ? folder.file('new') : word === 'OLD' ? folder.file('a.qcow2') : word)),
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatch(says);
  });
});
