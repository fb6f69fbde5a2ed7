/*
 * query-qmp-schema and query-commands: every command and event of ours has the peer's arguments and results, member by
 * member, and stands in the peer's order. What differs on purpose is listed with the test.
 */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram } from '../support/run.ts';
import { machine, type Programs, storageDaemon } from './qmp-suite.ts';

interface Info {
  readonly name: string;
  readonly 'meta-type': string;
  readonly [key: string]: unknown;
}
interface Member {
  readonly name: string;
  readonly type: string;
  readonly default?: null;
  readonly features?: readonly string[];
}

/** Words that the peer has and that come with further commands; a feature of saving machines, which is not done here. */
const accepted = [
  'human-monitor-command: features',
  'transaction.actions[].type: values',
  'transaction.actions[]: variants',
  'object-add.qom-type: values',
  'object-add: variants',
];

function ask(program: string, args: readonly string[], command: string): Info[] {
  const input = `{"execute":"qmp_capabilities"}{"execute":"${command}","id":1}{"execute":"quit"}\n`;
  const output = execFileSync(program, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'], maxBuffer: 64 * 1024 * 1024 });
  const line = output.split('\r\n').find((text) => text.includes('"id": 1'));
  return (JSON.parse(line ?? '{}') as { return: Info[] }).return;
}

function pair(programs: Programs, command: string): [theirs: Info[], ours: Info[]] {
  const script = { name: '', steps: [] };
  return [ask(peer(programs.peer), programs.peerArgs(script), command), ask(process.execPath, [builtProgram('tsqmp'), ...programs.ourArgs(script)], command)];
}

class Comparison {
  readonly differences: string[] = [];
  readonly #theirs: ReadonlyMap<string, Info>;
  readonly #ours: ReadonlyMap<string, Info>;
  readonly #seen = new Set<string>();

  constructor(theirs: readonly Info[], ours: readonly Info[]) {
    this.#theirs = new Map(theirs.map((info) => [info.name, info]));
    this.#ours = new Map(ours.map((info) => [info.name, info]));
    for (const info of ours) {
      if (info['meta-type'] !== 'command' && info['meta-type'] !== 'event') continue;
      const peerInfo = this.#theirs.get(info.name);
      if (peerInfo === undefined) this.differences.push(`${info.name}: unknown to the peer`);
      else {
        this.#equal(`${info.name}: features`, peerInfo['features'], info['features']);
        for (const key of ['arg-type', 'ret-type']) if (info[key] !== undefined) this.#types(info.name, String(peerInfo[key]), String(info[key]));
      }
    }
  }

  #equal(what: string, theirs: unknown, ours: unknown): void {
    if (JSON.stringify(theirs) !== JSON.stringify(ours)) this.differences.push(what);
  }

  #types(path: string, theirName: string, ourName: string): void {
    if (this.#seen.has(`${theirName} ${ourName}`)) return;
    this.#seen.add(`${theirName} ${ourName}`);
    const theirs = this.#theirs.get(theirName) ?? { name: '', 'meta-type': '' };
    const ours = this.#ours.get(ourName) ?? { name: '', 'meta-type': '' };
    this.#equal(`${path}: kind`, theirs['meta-type'], ours['meta-type']);
    this.#equal(`${path}: built-in`, theirs['json-type'], ours['json-type']);
    this.#equal(`${path}: values`, theirs['values'], ours['values']);
    this.#equal(`${path}: tag`, theirs['tag'], ours['tag']);
    if (theirs['element-type'] !== undefined) this.#types(`${path}[]`, String(theirs['element-type']), String(ours['element-type']));
    if (theirs['meta-type'] !== 'object' && theirs['meta-type'] !== 'alternate') return;
    const [theirMembers, ourMembers] = [theirs, ours].map((info) => (info['members'] ?? []) as readonly Member[]);
    const bare = (members: readonly Member[] = []): unknown => members.map(({ type: _type, ...rest }) => rest);
    this.#equal(`${path}: members`, bare(theirMembers), bare(ourMembers));
    for (const [index, member] of (theirMembers ?? []).entries()) {
      this.#types(member.name === undefined ? `${path}|` : `${path}.${member.name}`, member.type, ourMembers?.[index]?.type ?? '');
    }
    const variants = [theirs, ours].map(
      (info) => new Map(((info['variants'] ?? []) as { case: string; type: string }[]).map(({ case: word, type }) => [word, type])),
    );
    this.#equal(`${path}: variants`, [...(variants[0]?.keys() ?? [])].sort(), [...(variants[1]?.keys() ?? [])].sort());
    for (const [word, type] of variants[0] ?? []) if (variants[1]?.has(word)) this.#types(`${path}<${word}>`, type, variants[1]?.get(word) ?? '');
  }
}

describeWithPeers(['qemu-storage-daemon'], 'what the storage daemon tells of its commands', () => {
  it('every command and event of ours has the types of the peer', () => {
    const { differences } = new Comparison(...pair(storageDaemon, 'query-qmp-schema'));
    expect(differences.filter((line) => !accepted.some((start) => line.startsWith(start)))).toEqual([]);
  });

  it('commands are listed in the order of the peer', () => {
    const [theirs, ours] = pair(storageDaemon, 'query-commands').map((list) => list.map(({ name }) => name));
    expect(ours?.length).toBeGreaterThan(30);
    expect(ours).toEqual(theirs?.filter((name) => ours?.includes(name)));
  });
});

describeWithPeers(['qemu-system-x86_64'], 'what a machine tells of its commands', () => {
  const withDisk: Programs = { ...machine, ourArgs: (script) => [...machine.ourArgs(script), '--disk', 'none=/dev/null,format=raw,readonly=on'] };

  it('every command and event of ours has the types of the peer', () => {
    const { differences } = new Comparison(...pair(withDisk, 'query-qmp-schema'));
    expect(differences.filter((line) => !accepted.some((start) => line.startsWith(start)))).toEqual([]);
  });

  it('commands are listed in the order of the peer', () => {
    const [theirs, ours] = pair(withDisk, 'query-commands').map((list) => list.map(({ name }) => name));
    expect(ours?.length).toBeGreaterThan(35);
    expect(ours).toEqual(theirs?.filter((name) => ours?.includes(name)));
  });
});
