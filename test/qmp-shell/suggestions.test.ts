/* Advice that names what was meant and what there is, with the machine's own commands and types. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAbsentCommand, isAbsentInfo } from '../../src/monitor/absent.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { hmpNames } from '../../src/monitor/hmp.ts';
import { infoCommands } from '../../src/monitor/hmp-info.ts';
import { MachineShell } from './machine-shell.ts';

let shell: MachineShell;
beforeEach(async () => {
  shell = await MachineShell.start(1 << 20);
});
afterEach(() => shell[Symbol.asyncDispose]());

async function hint(line: string): Promise<string> {
  const { failure } = await shell.run(line);
  expect(failure, line).toBeDefined();
  return failure?.hint ?? '';
}

describe('a command that is not there', () => {
  it.each([
    ['blockdev-mirror device=hd target=x sync=full', "QEMU has 'blockdev-mirror', this version of tsimg has not: 'help' lists what it has"],
    ['commit all', "QEMU has 'commit', this version of tsimg has not: 'help' lists what it has"],
    ['savevm tag with words', "QEMU has 'savevm'"],
    ['block_set_io_throttle device=hd', "QEMU has 'block_set_io_throttle'"],
    ['info cpus', "QEMU has 'info cpus', this version of tsimg has not: 'info' lists what it has"],
    ['x-blockdev-reopen', 'it is spelled blockdev-reopen today; QEMU has it, this version of tsimg has not'],
    ['x-blockdev-del', 'it is spelled blockdev-del today'],
    ['blockdev-bakcup device=hd', "did you mean 'blockdev-backup'?"],
    ['qurey-block', "did you mean 'query-block'?"],
    ['grpah', "did you mean 'graph'?"],
    ['guset status', "did you mean 'guest'?"],
    ['info blok', "did you mean 'block'?"],
    ['zzzzzz', "'help' lists the commands"],
  ])('%s', async (line, told) => expect(await hint(line)).toContain(told));

  it('is told by QEMU’s own error, whatever words follow', async () => {
    const { failure } = await shell.run('comit all of it');
    expect(failure).toMatchObject({ errorClass: 'CommandNotFound', message: 'The command comit has not been found' });
  });

  it('is a command of the human monitor', async () => {
    expect(await hint('{"execute":"drive_add"}')).toContain('drive_add is a command of the human monitor');
  });
});

describe('an argument or a value that is not there', () => {
  it.each([
    ['blockdev-backup devce=hd target=x sync=none', "'devce=' is no argument: did you mean 'device='? 'help blockdev-backup' lists the arguments"],
    ['blockdev-add driver=raw node-name=n file.drivr=file', "'drivr=' is no argument: did you mean 'file.driver='?"],
    ['blockdev-add driver=raw node-name=n file.driver=file file.filename=x file.lokcing=off', "did you mean 'file.locking='?"],
    ['blockdev-add driver=qcow2 node-name=n file=src lazy-refcount=true', "did you mean 'lazy-refcounts='?"],
    ['blockdev-backup device=hd target=src sync=non', "did you mean 'none'? sync is one of top, full, none, incremental, bitmap"],
    ['blockdev-add driver=qcow node-name=n', ''],
    ['blockdev-add driver=qcow22 node-name=n', "did you mean 'qcow2'? driver is one of"],
    ['blockdev-add driver=raw node-name=n file=src discard=unmpa', "did you mean 'unmap'? discard is one of ignore, unmap"],
    ['block-job-set-speed', "give device=…; 'help block-job-set-speed' lists the arguments"],
    ['block_resize node-name=src size=big', "size takes a value of type integer; 'help block_resize' lists the arguments"],
    ['blockdev-backup sync=none device', "arguments are key=value; 'help blockdev-backup' lists the arguments"],
  ])('%s', async (line, told) => expect(await hint(line)).toContain(told));
});

it('nothing that is here is told to be absent', () => {
  const names = [...allCommands.map(({ name }) => name), ...hmpNames];
  expect(names.filter(isAbsentCommand)).toEqual([]);
  expect(infoCommands.map(({ name }) => name).filter(isAbsentInfo)).toEqual([]);
});
