/* Numbers as a hostile or unlucky user gives them: on command lines, in JSON, to QMP and over NBD. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';
import { NbdClient } from '../nbd-client.ts';
import { type Stage, told } from '../stage.ts';

/** A program once for each value: `value: exit code`, with the last line of what it says against it. */
async function each(stage: Stage, values: readonly string[], args: (value: string) => readonly string[]): Promise<string> {
  const outcomes: string[] = [];
  for (const value of values) {
    const { code, stderr } = await stage.run('tsimg', args(value));
    const why = /: ([^:]*)\s*$/.exec(stderr.split('\nOptional suffix')[0] ?? '')?.[1]?.trim();
    outcomes.push(`${value}: ${code === 0 ? 'ok' : why}`);
  }
  return outcomes.join('; ');
}

const optionNumbers: Fault = {
  name: 'option-numbers-in-the-notation-of-c',
  kind: 'numbers',
  expected: "0x10: ok; +5: ok; 010: ok;  7: ok; 08: Parameter 'latency-ns' expects a number; 1k: Parameter 'latency-ns' expects a number",
  play: (stage) => each(stage, ['0x10', '+5', '010', ' 7', '08', '1k'], (value) => ['info', '--image-opts', `driver=null-co,latency-ns=${value}`]),
};

const negativeLatency: Fault = {
  name: 'option-numbers-that-count-back-from-2-64',
  kind: 'numbers',
  expected:
    "-1: latency-ns is invalid; 9223372036854775808: latency-ns is invalid; 18446744073709551616: Value '18446744073709551616' is too large for parameter 'latency-ns'",
  play: (stage) =>
    each(stage, ['-1', '9223372036854775808', '18446744073709551616'], (value) => ['info', '--image-opts', `driver=null-co,latency-ns=${value}`]),
};

const cleanInterval: Fault = {
  name: 'cache-clean-interval-at-its-end',
  kind: 'numbers',
  expected: '2147483648: ok; 4294967295: ok; 4294967296: Cache clean interval too big; -1: Cache clean interval too big',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'q', '1M']);
    return each(stage, ['2147483648', '4294967295', '4294967296', '-1'], (value) => [
      'info',
      '--image-opts',
      `driver=qcow2,file.filename=q,cache-clean-interval=${value}`,
    ]);
  },
};

const parallel: Fault = {
  name: 'coroutines-are-no-size',
  kind: 'numbers',
  expected: '5.: Invalid number of coroutines specified; 1k: Invalid number of coroutines specified; 0x8: ok; a target for 1k: no',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'r', '1M']);
    const outcomes: string[] = [];
    for (const value of ['5.', '1k', '0x8']) {
      const { code, stderr } = await stage.run('tsimg', ['convert', '-m', value, '-f', 'raw', '-O', 'raw', 'r', `o-${value}`]);
      outcomes.push(`${value}: ${code === 0 ? 'ok' : /tsimg: ([^:]*)/.exec(stderr)?.[1]}`);
    }
    return `${outcomes.join('; ')}; a target for 1k: ${existsSync(stage.path('o-1k')) ? 'yes' : 'no'}`;
  },
};

const jsonSizes: Fault = {
  name: 'sizes-in-json-names',
  kind: 'numbers',
  expected:
    "1e6: ok; 1.0: ok; 0.5: Parameter 'size' expects a non-negative number below 2^64; 18446744073709551616: Parameter 'size' expects a non-negative number below 2^64; -1: Value '-1' is out of range for parameter 'size'",
  play: (stage) => each(stage, ['1e6', '1.0', '0.5', '18446744073709551616', '-1'], (value) => ['info', `json:{"driver":"null-co","size":${value}}`]),
};

const blockResize: Fault = {
  name: 'block-resize-to-impossible-sizes',
  kind: 'numbers',
  expected: 'refused 9 of 9, 1048576 bytes and 1048576 bytes, alive',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'q', '1M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'r', '1M']);
    const qmp = await stage.daemon();
    await qmp.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'q', file: { driver: 'file', filename: 'q' } });
    await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 'r', filename: 'r' });
    let refused = 0;
    const sizes = [-1, -512, 0.5, null, true, '5', 2 ** 53, 2 ** 60, 1e19];
    for (const size of sizes) {
      const answers = [await qmp.execute('block_resize', { 'node-name': 'q', size }), await qmp.execute('block_resize', { 'node-name': 'r', size })];
      if (answers.every((answer) => answer !== undefined && 'error' in answer)) refused++;
    }
    const nodes = (await qmp.execute('query-named-block-nodes')) as { return: { 'node-name': string; image: { 'virtual-size': number } }[] } | undefined;
    const sizeOf = (name: string): unknown => nodes?.return.find((node) => node['node-name'] === name)?.image['virtual-size'];
    return `refused ${refused} of ${sizes.length}, ${sizeOf('q')} bytes and ${sizeOf('r')} bytes, ${qmp.isAlive ? 'alive' : 'ended'}`;
  },
};

const granularity: Fault = {
  name: 'granularities-of-bitmaps',
  kind: 'numbers',
  expected: '0 no, 256 no, 513 no, 512 yes, 2147483648 yes, 4294967296 no, -512 no, 1.5 no',
  play: async (stage) => {
    const qmp = await stage.daemon();
    await qmp.execute('blockdev-add', { driver: 'null-co', 'node-name': 'n', size: 1 << 20 });
    const outcomes: string[] = [];
    for (const granularity of [0, 256, 513, 512, 2 ** 31, 2 ** 32, -512, 1.5]) {
      const answer = told(await qmp.execute('block-dirty-bitmap-add', { node: 'n', name: `b${granularity}`, granularity }));
      outcomes.push(`${granularity} ${answer === 'ok' ? 'yes' : answer === 'no answer' ? answer : 'no'}`);
    }
    return outcomes.join(', ');
  },
};

const jobSpeed: Fault = {
  name: 'speeds-of-jobs',
  kind: 'numbers',
  expected:
    "-1: Parameter 'speed' expects a non-negative value; 0.5: Invalid parameter type for 'speed', expected: integer; 9007199254740991: ok; a target that was not written to",
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 't', '1M']);
    const qmp = await stage.daemon();
    await qmp.execute('blockdev-add', { driver: 'null-co', 'node-name': 'n', size: 1 << 20 });
    await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 't', filename: 't' });
    const outcomes: string[] = [];
    const before = readFileSync(stage.path('t'));
    let same = true;
    for (const speed of [-1, 0.5, Number.MAX_SAFE_INTEGER]) {
      const answer = told(await qmp.execute('blockdev-backup', { 'job-id': 'j', device: 'n', target: 't', sync: 'full', speed }));
      if (answer !== 'ok') same &&= readFileSync(stage.path('t')).equals(before);
      outcomes.push(`${speed}: ${answer}`);
    }
    return `${outcomes.join('; ')}; a target that was ${same ? 'not ' : ''}written to`;
  },
};

const growth: Fault = {
  name: 'growth-beyond-every-size',
  kind: 'numbers',
  expected: 'raw 1048576, qcow2 1048576, check exit 0',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'q', '1M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'r', '1M']);
    for (const size of ['+7E', '+9223372036854775807', '16E', '-0x7fffffffffffffff', '1e3', '+0.5']) {
      await stage.run('tsimg', ['resize', '-q', 'q', size]);
      await stage.run('tsimg', ['resize', '-q', '-f', 'raw', 'r', size]);
    }
    const { stdout } = await stage.run('tsimg', ['info', '--output=json', 'q']);
    const { code } = await stage.run('tsimg', ['check', '-q', 'q']);
    return `raw ${statSync(stage.path('r')).size}, qcow2 ${(JSON.parse(stdout) as { 'virtual-size': number })['virtual-size']}, check exit ${code}`;
  },
};

const headerFields: Fault = {
  name: 'header-fields-at-their-ends',
  kind: 'numbers',
  expected: 'refused 11 of 11 in a line of their own, medium unchanged',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', 'q', '1M']);
    const image = readFileSync(stage.path('q'));
    const fields: readonly [number, 4 | 8, bigint][] = [
      [4, 4, 0xffffffffn],
      [8, 8, 1n << 63n],
      [20, 4, 0x80000000n],
      [20, 4, 0xffffffffn],
      [24, 8, (1n << 63n) + 512n],
      [24, 8, (1n << 64n) - 512n],
      [36, 4, 0xffffffffn],
      [40, 8, (1n << 64n) - 512n],
      [48, 8, 1n << 63n],
      [56, 4, 0xffffffffn],
      [96, 4, 0x80000000n],
    ];
    let refused = 0;
    let same = true;
    for (const [at, width, value] of fields) {
      const bad = Buffer.from(image);
      if (width === 4) bad.writeUInt32BE(Number(value), at);
      else bad.writeBigUInt64BE(value, at);
      // a name in the header has a length; the others say enough by themselves
      if (at === 8) bad.writeUInt32BE(5, 16);
      writeFileSync(stage.path('b'), bad);
      const { code, stderr } = await stage.run('tsimg', ['resize', '-q', '-f', 'qcow2', 'b', '2M']);
      if (code === 1 && /^tsimg: Could not open 'b': [^\n]+\n$/.test(stderr)) refused++;
      same &&= readFileSync(stage.path('b')).equals(bad);
    }
    return `refused ${refused} of ${fields.length} in a line of their own, medium ${same ? 'unchanged' : 'changed'}`;
  },
};

const nbdRequests: Fault = {
  name: 'nbd-requests-beyond-everything',
  kind: 'numbers',
  expected: 'EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL ENOSPC ENOSPC ENOSPC, then 0; file as it was',
  play: async (stage) => {
    writeFileSync(stage.path('r'), Buffer.alloc(1 << 20, 9));
    const client = await NbdClient.start(stage, ['-f', 'raw', 'r']);
    const outcomes: string[] = [];
    const two63 = 1n << 63n;
    const requests: readonly [number, bigint, number][] = [
      [0, two63, 512],
      [0, 2n * two63 - 512n, 1024],
      [0, 1n << 53n, 512],
      [4, 2n * two63 - 1n, 2],
      [4, 0n, 0xffffffff],
      [0xffff, two63, 0],
      [6, two63, 512],
      [6, 0n, 0xffffffff],
      [6, (1n << 20n) - 512n, 0x80000000],
    ];
    for (const [type, offset, length] of requests) outcomes.push((await client.ask(type, offset, length)).error);
    const last = await client.ask(0, 0n, 512);
    client.close();
    return `${outcomes.join(' ')}, then ${last.error}; file ${readFileSync(stage.path('r')).every((byte) => byte === 9) ? 'as it was' : 'changed'}`;
  },
};

const longHandshake: Fault = {
  name: 'nbd-handshake-of-fifty-days',
  kind: 'numbers',
  expected: 'started ok, greeting 18 bytes, still connected',
  play: async (stage) => {
    const qmp = await stage.daemon();
    const path = stage.path('nbd.sock');
    const started = told(await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path } }, 'handshake-max-seconds': 4294967295 }));
    const { connect } = await import('node:net');
    const socket = connect(path);
    let isOver = false;
    socket.on('error', () => {}).on('close', () => (isOver = true));
    const greeting = await new Promise<number>((resolve) => socket.once('data', (data: Buffer) => resolve(data.length)));
    // a timer that ran over would have ended it within a turn
    for (let round = 0; round < 200; round++) await qmp.execute('query-jobs');
    socket.destroy();
    return `started ${started}, greeting ${greeting} bytes, ${isOver ? 'cut off' : 'still connected'}`;
  },
};

const longTimeout: Fault = {
  name: 'copy-before-write-timeout-of-fifty-days',
  kind: 'numbers',
  expected: 'guest write ok, snapshot holds the old bytes',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const { engine } = hookedEngine(library, { before: (op, _offset, _length, path) => (op === 'write' && path === 't' ? held : undefined) });
    for (const path of ['s', 't']) {
      const medium = await engine.openStorage(path, { create: 'truncate', readOnly: false, direct: false, noFlush: false, locking: 'off' });
      await medium.truncate(1 << 20);
    }
    await engine.addNode({ driver: 'file', 'node-name': 's', filename: 's' });
    await engine.addNode({ driver: 'file', 'node-name': 't', filename: 't' });
    const filter = await engine.addNode({
      driver: 'copy-before-write',
      'node-name': 'c',
      file: 's',
      target: 't',
      'on-cbw-error': 'break-snapshot',
      'cbw-timeout': 4294967,
    });
    const access = await engine.addNode({ driver: 'snapshot-access', 'node-name': 'a', file: 'c' });
    const guest = new library.BlockBackend(engine.graph, library.writerPerms);
    guest.insert(filter);
    const written = Promise.resolve(guest.write(0, new Uint8Array(65536).fill(5))).then(
      () => 'ok',
      (error: Error) => error.message,
    );
    for (let turn = 0; turn < 20_000; turn++) await new Promise((resolve) => setImmediate(resolve));
    release();
    const outcome = await written;
    const view = new library.BlockBackend(engine.graph, library.readerPerms);
    view.insert(access);
    const bytes = new Uint8Array(65536).fill(1);
    const read = await Promise.resolve(view.read(0, bytes)).then(
      () => (bytes.every((byte) => byte === 0) ? 'holds the old bytes' : 'holds others'),
      (error: Error) => error.message,
    );
    await engine.close();
    return `guest write ${outcome}, snapshot ${read}`;
  },
};

const messageIds: Fault = {
  name: 'ids-of-messages-that-no-double-holds',
  kind: 'numbers',
  expected: '18446744073709551615 9007199254740993 -9223372036854775808 1.8446744073709552e+19',
  play: async (stage) => {
    const [node, file] = stage.command('tsqmp');
    const ids = ['18446744073709551615', '9007199254740993', '-9223372036854775808', '18446744073709551616'];
    const input = `{"execute":"qmp_capabilities"}${ids.map((id) => `{"execute":"query-jobs","id":${id}}`).join('')}{"execute":"quit"}`;
    const { stdout } = await stage.exec(node, [file, '--daemon', '--chardev', 'stdio,id=c', '--monitor', 'c'], { input });
    return [...stdout.matchAll(/"id": ([^}]+)}/g)].map(([, id]) => id).join(' ');
  },
};

const faults: Fault[] = [
  optionNumbers,
  negativeLatency,
  cleanInterval,
  parallel,
  jsonSizes,
  blockResize,
  granularity,
  jobSpeed,
  growth,
  headerFields,
  nbdRequests,
  longHandshake,
  longTimeout,
  messageIds,
];
export default faults;
