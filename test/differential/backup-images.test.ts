/* What a backup leaves on disk, by the peer's tools: compressed clusters, a discarded source. Both daemons do the same job. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, runSync } from '../support/run.ts';
import { makeQmpFixture } from './qmp-fixture.ts';
import { play } from './qmp-harness.ts';

const monitor = ['--chardev', 'stdio,id=qmp', '--monitor', 'chardev=qmp'];
const node = (name: string, file: string, more = ''): string =>
  `blockdev-add {"driver":"qcow2","node-name":"${name}","file":{"driver":"file","filename":"${file}"}${more}}`;
const backup = (more: string): string => `blockdev-backup {"device":"src","target":"tgt","job-id":"j",${more}} => JOB_STATUS_CHANGE "status": "null"`;
const unmap = ',"discard":"unmap"';

interface Case {
  readonly name: string;
  readonly steps: readonly string[];
  /** Words for qemu-img. */
  readonly checks: readonly (readonly string[])[];
}

const map = (file: string): string[] => ['map', '--output=json', file];

const cases: readonly Case[] = [
  {
    name: 'a compressed full backup',
    steps: [node('src', 'disk.qcow2'), node('tgt', 'target.qcow2'), backup('"sync":"full","compress":true')],
    checks: [['check', 'target.qcow2'], ['compare', 'disk.qcow2', 'target.qcow2'], map('target.qcow2')],
  },
  {
    name: 'a second compressed backup onto the first, refused',
    steps: [node('src', 'overlay.qcow2'), node('tgt', 'target.qcow2'), backup('"sync":"full","compress":true'), backup('"sync":"full","compress":true')],
    checks: [['check', 'target.qcow2'], ['compare', 'overlay.qcow2', 'target.qcow2'], map('target.qcow2')],
  },
  {
    name: 'a compressed backup of the top layer',
    steps: [node('src', 'overlay.qcow2'), node('tgt', 'target.qcow2'), backup('"sync":"top","compress":true')],
    checks: [['check', 'target.qcow2'], map('target.qcow2')],
  },
  {
    name: 'a full backup that discards its source',
    steps: [node('src', 'disk.qcow2', unmap), node('tgt', 'target.qcow2'), backup('"sync":"full","discard-source":true')],
    checks: [['check', 'disk.qcow2'], map('disk.qcow2'), ['check', 'target.qcow2'], ['compare', '../template/disk.qcow2', 'target.qcow2']],
  },
  {
    name: 'a backup of the top layer that discards it',
    steps: [node('src', 'overlay.qcow2', unmap), node('tgt', 'target.qcow2'), backup('"sync":"top","discard-source":true')],
    checks: [['check', 'overlay.qcow2'], map('overlay.qcow2'), map('target.qcow2')],
  },
  {
    name: 'a source that drops discards',
    steps: [node('src', 'disk.qcow2'), node('tgt', 'target.qcow2'), backup('"sync":"full","discard-source":true')],
    checks: [map('disk.qcow2'), ['compare', 'disk.qcow2', 'target.qcow2']],
  },
];

describeWithPeers(['qemu-storage-daemon', 'qemu-img', 'qemu-io'], 'images after backups', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'tsqmp-backup-'));
    mkdirSync(join(root, 'template'));
    makeQmpFixture(join(root, 'template'), peer);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each(cases.map((one, index) => [one.name, one, index] as const))('%s', async (name, { steps, checks }, index) => {
    const found = async (side: string, program: string, args: readonly string[]): Promise<string[]> => {
      const folder = join(root, `${side}${index}`);
      cpSync(join(root, 'template'), folder, { recursive: true });
      await play(program, [...args, ...monitor], { name, steps }, folder);
      return checks.map((words) => {
        const { stdout, stderr, code } = runSync(peer('qemu-img'), words, { cwd: folder });
        // where clusters lie, and how scattered, depends on which copy came first
        const layout = words[0] === 'map' ? stdout.replaceAll(/, "offset": \d+/g, '') : stdout.replace(/[\d.]+% fragmented/, '% fragmented');
        return `${words.join(' ')}: ${code}\n${layout}${stderr}`;
      });
    };
    const expected = await found('a', peer('qemu-storage-daemon'), []);
    const ours = await found('b', process.execPath, [builtProgram('tsqmp'), '--daemon', '--strict']);
    expect(ours).toEqual(expected);
    expect(ours.filter((text) => text.startsWith('check')).every((text) => /: 0\nNo errors/.test(text))).toBe(true);
  });
});
