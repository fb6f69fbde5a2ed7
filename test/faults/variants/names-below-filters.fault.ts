/* Relative names in images that are opened through filters and windows: they go out from the image's folder all the same. */
import { mkdirSync } from 'node:fs';
import type { Fault } from '../fault.ts';

const file = '{"driver":"file","filename":"d/overlay"}';
const ways: Readonly<Record<string, readonly [json: string, outcome: string]>> = {
  'a-window': [`{"driver":"raw","offset":0,"size":131072,"file":${file}}`, 'exit 0: 17'],
  'a-filter': [`{"driver":"preallocate","file":${file}}`, 'exit 0: 17'],
  'two-filters': [`{"driver":"preallocate","file":{"driver":"raw","offset":0,"file":${file}}}`, 'exit 0: 17'],
  blkdebug: [`{"driver":"blkdebug","image":${file}}`, 'exit 0: 17'],
  blkverify: [
    `{"driver":"blkverify","test":${file},"raw":{"driver":"file","filename":"d/again"}}`,
    'exit 1: Cannot generate a base directory for blkverify nodes',
  ],
  quorum: [
    `{"driver":"quorum","vote-threshold":1,"children":[${file},{"driver":"file","filename":"d/again"}]}`,
    'exit 1: Cannot generate a base directory for quorum nodes',
  ],
};

const faults: Fault[] = Object.entries(ways).map(([name, [below, outcome]]) => ({
  name: `relative-backing-name-below-${name}`,
  kind: 'names',
  peers: ['qemu-img'],
  expected: `${outcome}; so the peer`,
  play: async (stage) => {
    const library = await stage.loadLibrary();
    mkdirSync(stage.path('d'));
    const engine = new library.Engine();
    // another file of that name lies where the programs run
    for (const [path, byte] of [
      ['d/base', 17],
      ['base', 34],
    ] as const) {
      await library.createImage(engine, 'raw', stage.path(path), { size: 65536 });
      await stage.peer('qemu-io', ['-f', 'raw', '-c', `write -P ${byte} 0 64k`, path]);
    }
    for (const overlay of ['d/overlay', 'd/again']) {
      await library.createImage(engine, 'qcow2', stage.path(overlay), { size: 65536, backing_file: 'base', backing_fmt: 'raw' });
    }
    await engine.close();
    const image = `json:{"driver":"qcow2","file":${below}}`;
    const outcomes: string[] = [];
    for (const program of ['tsimg', 'qemu-img'] as const) {
      const args = ['compare', '-F', 'raw', image, program];
      await stage.run('tsimg', ['create', '-q', '-f', 'raw', program, '64k']);
      await stage.peer('qemu-io', ['-f', 'raw', '-c', 'write -P 17 0 64k', program]);
      const { code, stderr } = await (program === 'tsimg' ? stage.run('tsimg', args) : stage.peer('qemu-img', args));
      outcomes.push(`exit ${code === 2 ? 1 : code}: ${code === 0 ? 17 : /Cannot generate.*/.exec(stderr)?.[0]}`);
    }
    return `${outcomes[0]}; ${outcomes[0] === outcomes[1] ? 'so the peer' : `the peer: ${outcomes[1]}`}`;
  },
}));
export default faults;
