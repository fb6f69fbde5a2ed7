/* Openings that fail, hang, meet each other or name what they must not: nothing of them stays. */
import { readdirSync } from 'node:fs';
import type { MemoryStorage } from '../../../src/index.ts';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';
import { NbdClient } from '../nbd-client.ts';
import { peerPath, QmpProcess, type Stage, told } from '../stage.ts';

async function turns(count = 5000): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const settled = (promise: Promise<unknown>, text: string): Promise<string> =>
  Promise.race([
    promise.then(
      () => text,
      (error: Error) => error.message,
    ),
    turns().then(() => 'waits'),
  ]);

/** Media of an overlay over an image: `top` and `base`. */
async function makeChain(stage: Stage): Promise<Map<string, MemoryStorage>> {
  const library = await stage.loadLibrary();
  const { engine, media } = hookedEngine(library);
  await library.createImage(engine, 'qcow2', 'base', { size: 1 << 20 });
  await library.createImage(engine, 'qcow2', 'top', { size: 1 << 20, backing_file: 'base', backing_fmt: 'qcow2' });
  await engine.close();
  return media;
}

const chainNode = { driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: 'top' } };

const eachRead: Fault = {
  name: 'an-open-that-fails-at-each-read',
  kind: 'opening',
  expected: 'every read told; names left over: 0; opened in the end',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const media = await makeChain(stage);
    let reads = 0;
    let failing = -1;
    const { engine } = hookedEngine(library, { fail: (op) => (op === 'read' && reads++ === failing ? 'EIO' : undefined) }, media);
    let untold = 0;
    let left = 0;
    let isOpen = false;
    for (failing = 0; failing < 100 && !isOpen; failing++) {
      reads = 0;
      const answer = await engine.addNode(chainNode).then(
        () => undefined,
        (error: Error) => error.message,
      );
      if (answer === undefined) isOpen = true;
      else {
        if (!answer.includes('Input/output error') && !answer.includes('Could not')) untold++;
        if (engine.graph.find('n') !== undefined) left++;
      }
    }
    await engine.close();
    return `${untold === 0 ? 'every read told' : `${untold} untold`}; names left over: ${left}; ${isOpen && failing > 3 ? 'opened in the end' : `not opened (${failing})`}`;
  },
};

const eachHang: Fault = {
  name: 'an-open-that-hangs-at-each-read',
  kind: 'opening',
  expected: 'another node each time, and an end each time',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const media = await makeChain(stage);
    media.set('other', new library.MemoryStorage('other', { size: 512 }));
    const strange: string[] = [];
    for (let hanging = 0; hanging < 12; hanging++) {
      let reads = 0;
      const { engine } = hookedEngine(
        library,
        { before: (op, _offset, _length, path) => (op === 'read' && path !== 'other' && reads++ === hanging ? new Promise(() => {}) : undefined) },
        media,
      );
      void engine.addNode(chainNode).catch(() => {});
      await turns(50);
      const other = await settled(engine.addNode({ driver: 'file', 'node-name': 'other', filename: 'other' }), 'added');
      const closed = await settled(engine.close(), 'done');
      if (other !== 'added' || closed !== 'done') strange.push(`${hanging}: ${other}, ${closed}`);
    }
    return strange.length === 0 ? 'another node each time, and an end each time' : strange.join('; ');
  },
};

const childOfHalf: Fault = {
  name: 'a-parent-for-a-node-that-is-half-open',
  kind: 'opening',
  expected: "Cannot find device='n' nor node-name='n'; then n; then over n",
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const media = await makeChain(stage);
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const { engine } = hookedEngine(library, { before: (op, _offset, _length, path) => (op === 'read' && path === 'base' ? held : undefined) }, media);
    const opening = engine.addNode(chainNode);
    await turns(50);
    const early = await settled(engine.addNode({ driver: 'raw', 'node-name': 'r', file: 'n' }), 'added');
    release();
    const node = await opening;
    const late = await settled(engine.addNode({ driver: 'raw', 'node-name': 'r', file: 'n' }), 'over n');
    await engine.close();
    return `${early}; then ${node.name}; then ${late}`;
  },
};

const takenAway: Fault = {
  name: 'a-child-that-is-deleted-while-its-parent-opens',
  kind: 'opening',
  expected: 'opened ok, deleted Block device f is in use; then ok, ok',
  play: async (stage) => {
    await copyImage(stage, 'a');
    const qmp = await stage.daemon();
    await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 'f', filename: 'a' });
    const opening = add(qmp, { 'node-name': 'n', file: 'f' }, '');
    const deleting = qmp.execute('blockdev-del', { 'node-name': 'f' });
    const early = `opened ${await opening}, deleted ${told(await deleting)}`;
    const late = [await qmp.execute('blockdev-del', { 'node-name': 'n' }), await qmp.execute('blockdev-del', { 'node-name': 'f' })];
    return `${early}; then ${late.map(told).join(', ')}`;
  },
};

const manyOfOneName: Fault = {
  name: 'ten-openings-of-one-name-without-waiting',
  kind: 'opening',
  expected: '1 ok, 9 duplicates; 2 files open; deleted ok; 0 files open',
  play: async (stage) => {
    for (let index = 0; index < 10; index++) await copyImage(stage, `i${index}`);
    const qmp = await stage.daemon();
    const before = openFiles(qmp);
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => add(qmp, { 'node-name': 'n' }, `i${index}`)));
    const held = openFiles(qmp) - before;
    const deleted = told(await qmp.execute('blockdev-del', { 'node-name': 'n' }));
    const ok = answers.filter((answer) => answer === 'ok').length;
    const duplicates = answers.filter((answer) => answer === "Duplicate nodes with node-name='n'").length;
    return `${ok} ok, ${duplicates} duplicates; ${held > 0 ? 2 : 0} files open; deleted ${deleted}; ${openFiles(qmp) - before} files open`;
  },
};

/** A node of qcow2 with its file below. */
async function add(qmp: QmpProcess, options: Readonly<Record<string, unknown>>, filename: string): Promise<string> {
  return told(await qmp.execute('blockdev-add', { driver: 'qcow2', file: { driver: 'file', filename }, ...options }));
}

const made = new WeakMap<Stage, Promise<unknown>>();
/** An empty image, made once a stage and copied. */
async function copyImage(stage: Stage, name: string): Promise<void> {
  if (!made.has(stage)) made.set(stage, stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'template', '1M']));
  await made.get(stage);
  await stage.exec('cp', ['template', name]);
}

function openFiles(qmp: QmpProcess): number {
  return readdirSync(`/proc/${qmp.pid}/fd`).length;
}

/** Openings that QEMU refuses, each with the file that would stay locked. */
const refusals: readonly [string, Readonly<Record<string, unknown>>][] = [
  ["Duplicate nodes with node-name='q'", { 'node-name': 'q' }],
  ["Duplicate nodes with node-name='n'", { 'node-name': 'n', file: { driver: 'file', 'node-name': 'n', filename: 'b' } }],
  ["Making 'n' a backing child of 'n' would create a cycle", { 'node-name': 'n', backing: 'n' }],
  ["Could not open backing file: Could not open 'nowhere': No such file or directory", { 'node-name': 'n', backing: { driver: 'file', filename: 'nowhere' } }],
  ["'data-file' can only be set for images with an external data file", { 'node-name': 'n', 'data-file': 't' }],
  ["Cannot find device='n' nor node-name='n'", { 'node-name': 'n', file: 'n' }],
  ["Could not open backing file: Cannot find device='t2' nor node-name='t2'", { 'node-name': 'n', backing: 't2' }],
  ["Invalid node-name: 'a/b'", { 'node-name': 'a/b' }],
  ["Invalid node-name: ''", { 'node-name': '' }],
  ['Node name too long', { 'node-name': 'a'.repeat(32) }],
  ["Invalid node-name: '#block1'", { 'node-name': '#block1' }],
  ["'node-name' must be specified for the root node", {}],
  ['Image is not in qcow2 format', { 'node-name': 'n', file: 't' }],
];

const refused: Fault = {
  name: 'openings-that-are-refused-leave-nothing',
  kind: 'opening',
  expected: "13 of 13 in the peer's words; files open 0; another program resizes: exit 0; the node t is free: ok",
  play: async (stage) => {
    await copyImage(stage, 'a');
    await copyImage(stage, 'b');
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 't', '1M']);
    const qmp = await stage.daemon();
    await add(qmp, { 'node-name': 'q' }, 'a');
    await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 't', filename: 't' });
    const before = openFiles(qmp);
    const strange: string[] = [];
    for (const [words, options] of refusals) {
      const answer = await add(qmp, options, 'b');
      if (answer !== words) strange.push(answer);
    }
    const left = openFiles(qmp) - before;
    const { code } = await stage.run('tsimg', ['resize', '-q', 'b', '2M']);
    const free = told(await qmp.execute('blockdev-del', { 'node-name': 't' }));
    const words = `${refusals.length - strange.length} of ${refusals.length} in the peer's words${strange.map((text) => ` (${text})`).join('')}`;
    return `${words}; files open ${left}; another program resizes: exit ${code}; the node t is free: ${free}`;
  },
};

const sameFile: Fault = {
  name: 'one-file-opened-twice',
  kind: 'opening',
  expected: 'Failed to get "write" lock; then read-only: Failed to get shared "write" lock; first still locked: exit 1; after deletion: exit 0',
  play: async (stage) => {
    await copyImage(stage, 'a');
    const qmp = await stage.daemon();
    await add(qmp, { 'node-name': 'one' }, 'a');
    const two = await add(qmp, { 'node-name': 'two' }, 'a');
    const three = await add(qmp, { 'node-name': 'three', 'read-only': true }, 'a');
    const locked = await stage.run('tsimg', ['resize', '-q', 'a', '2M']);
    await qmp.execute('blockdev-del', { 'node-name': 'one' });
    await qmp.execute('blockdev-del', { 'node-name': 'three' });
    const free = await stage.run('tsimg', ['resize', '-q', 'a', '2M']);
    return `${two}; then read-only: ${three}; first still locked: exit ${locked.code}; after deletion: exit ${free.code}`;
  },
};

const interleaved: Fault = {
  name: 'a-hundred-nodes-added-and-deleted-without-waiting',
  kind: 'opening',
  expected: '200 answers, 200 ok; nodes 0; files open 0',
  play: async (stage) => {
    await copyImage(stage, 'a');
    const qmp = await stage.daemon();
    const before = openFiles(qmp);
    const answers: Promise<string>[] = [];
    for (let index = 0; index < 100; index++) {
      answers.push(add(qmp, { 'node-name': 'n' }, 'a'));
      answers.push(qmp.execute('blockdev-del', { 'node-name': 'n' }).then(told));
    }
    const heard = await Promise.all(answers);
    const nodes = (await qmp.execute('query-named-block-nodes')) as { return: unknown[] };
    return `${heard.length} answers, ${heard.filter((answer) => answer === 'ok').length} ok; nodes ${nodes.return.length}; files open ${openFiles(qmp) - before}`;
  },
};

const quitBehind: Fault = {
  name: 'quit-behind-openings-in-flight',
  kind: 'opening',
  expected: 'exit 0; lock free: exit 0',
  play: async (stage) => {
    for (let index = 0; index < 8; index++) await copyImage(stage, `i${index}`);
    const qmp = await stage.daemon();
    const ended = new Promise<number | null>((resolve) => qmp.child.once('close', resolve));
    for (let index = 0; index < 8; index++) void add(qmp, { 'node-name': `n${index}` }, `i${index}`);
    void qmp.execute('quit');
    const code = await ended;
    const { code: free } = await stage.run('tsimg', ['resize', '-q', 'i7', '2M']);
    return `exit ${code}; lock free: exit ${free}`;
  },
};

const transactionUnknown: Fault = {
  name: 'a-transaction-that-names-a-node-too-early',
  kind: 'opening',
  expected: "Cannot find device='later' nor node-name='later'; bitmap: Dirty bitmap 'b' not found; node: ok; again: ok",
  play: async (stage) => {
    await copyImage(stage, 'a');
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 't', '1M']);
    const qmp = await stage.daemon();
    await add(qmp, { 'node-name': 'q' }, 'a');
    const actions = [
      { type: 'block-dirty-bitmap-add', data: { node: 'q', name: 'b' } },
      { type: 'blockdev-backup', data: { 'job-id': 'j', device: 'q', target: 'later', sync: 'full' } },
    ];
    const early = qmp.execute('transaction', { actions });
    const bitmap = qmp.execute('block-dirty-bitmap-remove', { node: 'q', name: 'b' });
    const node = qmp.execute('blockdev-add', { driver: 'file', 'node-name': 'later', filename: 't' });
    const again = qmp.execute('transaction', { actions });
    return `${told(await early)}; bitmap: ${told(await bitmap)}; node: ${told(await node)}; again: ${told(await again)}`;
  },
};

const exportsEarly: Fault = {
  name: 'exports-for-nodes-and-servers-that-are-not-there',
  kind: 'opening',
  expected:
    "Cannot find device='' nor node-name='n'; {} ok; Cannot find device='' nor node-name='n'; ok; Block export id 'e' is already in use; NBD server already has export named 'n'; read 0",
  play: async (stage) => {
    await copyImage(stage, 'a');
    const qmp = await stage.daemon();
    const path = stage.path('s.sock');
    const exportAdd = (id: string): Promise<string> => qmp.execute('block-export-add', { type: 'nbd', id, 'node-name': 'n' }).then(told);
    const early = await exportAdd('e');
    const server = told(await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } }));
    const noNode = await exportAdd('e');
    await add(qmp, { 'node-name': 'n' }, 'a');
    const answers = [await exportAdd('e'), await exportAdd('e'), await exportAdd('e2')];
    const client = await NbdClient.connect(path, 'n');
    const { error } = await client.ask(0, 0n, 512);
    client.close();
    return `${early}; {} ${server}; ${noNode}; ${answers.join('; ')}; read ${error}`;
  },
};

/** The same commands to the peer's daemon and to this one: the answers, as error texts, are the same. */
const asThePeer: Fault = {
  name: 'a-script-of-odd-openings-as-the-peer-answers-it',
  kind: 'opening',
  peers: ['qemu-storage-daemon'],
  expected: 'same answers: 16 of 16',
  play: async (stage) => {
    await copyImage(stage, 'a');
    await copyImage(stage, 'b');
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 't', '1M']);
    const play = async (qmp: QmpProcess): Promise<string[]> => {
      const file = (filename: string): object => ({ driver: 'file', filename });
      const script: readonly [string, Record<string, unknown>][] = [
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'q', file: file('a') }],
        ['blockdev-add', { driver: 'copy-before-write', 'node-name': 'c', file: 'q', target: 'q' }],
        ['blockdev-add', { driver: 'copy-before-write', 'node-name': 'c2', file: 'q', target: 'nothere' }],
        ['blockdev-add', { driver: 'snapshot-access', 'node-name': 'sa', file: 'q' }],
        ['blockdev-add', { driver: 'file', 'node-name': 'd', filename: '.' }],
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: file('b'), backing: { driver: 'qcow2', file: file('b') } }],
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: file('b'), 'overlap-check': 'nonsense' }],
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: file('b'), 'l2-cache-entry-size': 513 }],
        ['blockdev-add', { driver: 'raw', 'node-name': 'n', file: file('t'), offset: 512, size: 1 << 20 }],
        ['blockdev-add', { driver: 'raw', 'node-name': 'n', file: { driver: 'raw', file: { driver: 'raw', file: file('nowhere') } } }],
        ['blockdev-add', { driver: 'nonsense', 'node-name': 'n' }],
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: null }],
        ['blockdev-add', { driver: 'qcow2', 'node-name': 'n', file: file('b'), backing: null }],
        ['blockdev-del', { 'node-name': 'n' }],
        ['blockdev-del', { 'node-name': 'n' }],
        ['blockdev-del', { 'node-name': 'q' }],
      ];
      const answers: string[] = [];
      for (const [command, args] of script) answers.push(told(await qmp.execute(command, args)));
      const ended = new Promise((resolve) => qmp.child.once('close', resolve));
      void qmp.execute('quit');
      await ended;
      return answers;
    };
    const peer = new QmpProcess(stage.start(peerPath('qemu-storage-daemon'), ['--chardev', 'stdio,id=c', '--monitor', 'c']));
    await peer.execute('qmp_capabilities');
    const right = await play(peer);
    const got = await play(await stage.daemon());
    const others = right.flatMap((answer, index) => (answer === got[index] ? [] : [`${answer} / ${got[index]}`]));
    return `same answers: ${right.length - others.length} of ${right.length}${others.map((text) => `; ${text}`).join('')}`;
  },
};

const faults: Fault[] = [
  eachRead,
  eachHang,
  childOfHalf,
  takenAway,
  manyOfOneName,
  refused,
  sameFile,
  interleaved,
  quitBehind,
  transactionUnknown,
  exportsEarly,
  asThePeer,
];
export default faults;
