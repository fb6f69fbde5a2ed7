/* Completion over a machine in this process: every kind of word, from its schema and its queries. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Machine } from '../../src/machine/machine.ts';
import { allCommands } from '../../src/monitor/catalogue.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { type CompletionContext, complete } from '../../src/qmp-shell/completer.ts';
import { localTransport, type Transport } from '../../src/qmp-shell/transport.ts';

let engine: Engine;
let transport: Transport;

beforeAll(async () => {
  const disk = new MemoryStorage('disk.raw');
  disk.truncate(1024 * 1024);
  engine = new Engine({ openStorage: async () => disk });
  engine.machine = new Machine(engine);
  await engine.machine.addDisk('ide0-hd0', await engine.opener.openImage({ filename: 'disk.raw', format: 'raw', options: { 'node-name': 'source' } }));
  const monitor = new Monitor(engine, { kind: 'machine', commands: allCommands, onQuit: () => {} });
  transport = localTransport(monitor.openSession({ isNegotiated: true }));
});

afterAll(() => engine.close());

async function completed(line: string, more: Partial<CompletionContext> = {}): Promise<string[]> {
  const [found, last] = await complete({ transport, isHmp: false, isInTransaction: false, ...more }, line);
  // readline puts what follows `last`: a candidate that does not begin so would spoil the line
  expect(found.every((candidate) => candidate.startsWith(last))).toBe(true);
  expect(line.endsWith(last)).toBe(true);
  return found;
}

describe('completion', () => {
  it.each([
    ['query-sta', ['query-status ']],
    ['drive_d', ['drive_del ']],
    ['gra', ['graph ']],
    ['transac', ['transaction', 'transaction(']],
    ['help blockdev-b', ['blockdev-backup ']],
    ['graph ', ['-v ']],
    ['graph -v ', []],
    ['blockdev-add driver=q', ['driver=qcow2', 'driver=quorum']],
    ['blockdev-add driver=vm', []],
    ['blockdev-add driver=qcow2 file.driver=null-c', ['file.driver=null-co ']],
    ['map s', ['source ']],
    ['guest r', ['read', 'run']],
    ['guest run i', ['ide0-hd0 ']],
    ['guest run ide0-hd0 --workload s', ['sequential-write ']],
    ['guest run ide0-hd0 --s', ['--seed ']],
    ['drive_del ide', ['ide0-hd0 ']],
    ['blockdev-backup dev', ['device=']],
    ['blockdev-backup device=i', ['device=ide0-hd0 ']],
    ['blockdev-backup sync=n', ['sync=none ']],
    ['blockdev-backup compress=t', ['compress=true ']],
    ['blockdev-add driver=copy-b', ['driver=copy-before-write ']],
    ['blockdev-add driver=qcow2 file.dri', ['file.driver=']],
    ['blockdev-add driver=qcow2 file.driver=file file.filen', ['file.filename=']],
    ['blockdev-add driver=qcow2 backing=s', ['backing=source ']],
    ['blockdev-add driver=raw siz', ['size=']],
    ['nbd-server-start addr.type=u', ['addr.type=unix ']],
    ['nbd-server-start addr.type=unix addr.data.p', ['addr.data.path=']],
    ['wait BLOCK_JOB_CA', ['BLOCK_JOB_CANCELLED ']],
    ['wait BLOCK_JOB_CANCELLED dev', ['device=']],
    ['wait BLOCK_JOB_CANCELLED time', ['timeout=']],
    ['expect-error Dev', ['DeviceNotActive', 'DeviceNotFound']],
    ['expect-error GenericError query-sta', ['query-status ']],
    ['transaction( blockdev-b', ['blockdev-backup ']],
    ['transaction( blockdev-backup sync=n', ['sync=none ']],
    ['nosuch ', []],
    ['nosuch a=', []],
  ])('%j', async (line, found) => expect(await completed(line)).toEqual(found));

  it('offers each argument once', async () => {
    const found = await completed('blockdev-backup device=ide0-hd0 ');
    expect(found).toContain('target=');
    expect(found).not.toContain('device=');
  });

  it('offers a node and a definition where either may stand', async () => {
    expect(await completed('blockdev-add driver=raw fil')).toEqual(['file.', 'file=']);
  });

  it('tells the members of a union’s branch only once it is known', async () => {
    expect(await completed('blockdev-add driver=qcow2 lazy-ref')).toEqual(['lazy-refcounts=']);
    expect(await completed('blockdev-add lazy-ref')).toEqual([]);
  });

  it('completes actions inside a transaction', async () => {
    expect(await completed('blockdev-b', { isInTransaction: true })).toEqual(['blockdev-backup ']);
    expect(await completed('blockdev-backup tar', { isInTransaction: true })).toEqual(['target=']);
  });

  it('completes the human monitor', async () => {
    expect(await completed('drive_d', { isHmp: true })).toEqual(['drive_del ']);
    expect(await completed('info block-', { isHmp: true })).toEqual(['block-jobs ']);
    expect(await completed('help drive_d', { isHmp: true })).toEqual(['drive_del ']);
    expect(await completed('qemu-io s', { isHmp: true })).toEqual(['source ']);
  });

  it('completes files', async () => {
    expect(await completed('blockdev-add driver=file filename=package.js')).toEqual(['filename=package.json ']);
    expect(await completed('blockdev-add driver=file filename=no/such/')).toEqual([]);
  });
});
