/*
 * What is measured, as data: each row prepares its files once and then yields a figure for one side, which is a set of
 * programs: ours, the peers' or those of an older version. Figures are times (ms) or rates; `isRate` says which.
 */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, fio, gibibyteOfData, serve, theirs, time, timed } from './support.ts';

/** The programs of one side, by our names. */
export type Side = (program: 'tsimg' | 'tsnbd' | 'tsqmp', ...args: string[]) => Command;

export interface Measured {
  /** One figure. */
  run(): Promise<number> | number;
  stop?(): Promise<void>;
}

export interface Row {
  readonly subject: 'fleece' | 'img' | 'nbd';
  readonly name: string;
  readonly isRate: boolean;
  readonly rounds: number;
  show(figure: number): string;
  /** Files in `folder` that are there for the row: made by whoever runs it. */
  readonly needs: readonly ('disk.raw' | 'disk.qcow2' | 'small.qcow2')[];
  begin(side: Side, folder: string, tag: string): Promise<Measured> | Measured;
}

const perSecond = (figure: number): string => `${Math.round(figure)}/s`;
const seconds = (figure: number): string => `${(figure / 1000).toFixed(2)} s`;

/** Makes the files that rows need. */
export function prepare(folder: string, names: ReadonlySet<string>): void {
  if (names.has('small.qcow2')) time(theirs('qemu-img', 'create', '-q', '-f', 'qcow2', 'small.qcow2', '1G'), folder);
  if (names.has('disk.raw') || names.has('disk.qcow2')) gibibyteOfData(join(folder, 'disk.raw'));
  if (names.has('disk.qcow2')) time(theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'), folder);
}

const startUp: Row = {
  subject: 'img',
  name: 'start-up: tsimg info of a qcow2',
  isRate: false,
  rounds: 21,
  show: (figure) => `${figure.toFixed(1)} ms`,
  needs: ['small.qcow2'],
  begin: (side, folder) => ({ run: () => time(side('tsimg', 'info', 'small.qcow2'), folder) }),
};

const convert = (from: 'raw' | 'qcow2', to: 'raw' | 'qcow2'): Row => ({
  subject: 'img',
  name: `convert ${from} → ${to}, 1 GiB, time`,
  isRate: false,
  rounds: 5,
  show: seconds,
  needs: [`disk.${from}`],
  begin: (side, folder) => ({ run: () => time(side('tsimg', 'convert', '-f', from, '-O', to, `disk.${from}`, 'out'), folder) }),
});

const served = (name: string, format: 'raw' | 'qcow2', rounds: number, show: Row['show'], figure: (uri: string) => number): Row => ({
  subject: 'nbd',
  name: `${name}, ${format}`,
  isRate: true,
  rounds,
  show,
  needs: [`disk.${format}`],
  begin: async (side, folder, tag) => {
    const socket = join(folder, `${tag}.sock`);
    const server = await serve(side('tsnbd', '-t', '-e', '8', '-f', format, '-k', socket, join(folder, `disk.${format}`), '-r'), socket);
    return { run: () => figure(`nbd+unix:///?socket=${socket}`), stop: () => server.stop() };
  },
});

const reads = (depth: number, format: 'raw' | 'qcow2'): Row =>
  served(`4 KiB random reads, depth ${depth}`, format, 3, perSecond, (uri) =>
    fio(uri, ['--rw=randread', '--bs=4k', `--iodepth=${depth}`, '--size=1g', ...timed]),
  );

const copies = (connections: number, format: 'raw' | 'qcow2'): Row =>
  served(
    `nbdcopy of 1 GiB, ${connections} connection(s)`,
    format,
    5,
    (figure) => `${Math.round(figure)} MiB/s`,
    (uri) => (1024 * 1000) / time(theirs('nbdcopy', `--connections=${connections}`, uri, 'null:')),
  );

/** Guest writes of 64 KiB at random places under a backup with sync=none, over a writable export of a daemon: every cluster once. */
const guestWrites: Row = {
  subject: 'fleece',
  name: 'guest 64 KiB random writes under sync=none',
  isRate: true,
  rounds: 3,
  show: perSecond,
  needs: ['disk.raw'],
  begin: (side, folder, tag) => ({
    run: async () => {
      const at = (name: string): string => join(folder, `${tag}-${name}`);
      time(theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', join(folder, 'disk.raw'), at('source')));
      time(theirs('qemu-img', 'create', '-q', '-f', 'qcow2', at('target'), '1G'));
      const socket = at('sock');
      const daemon = await serve(
        side(
          ...(['tsqmp', '--daemon'] as const),
          ...['--blockdev', `driver=qcow2,node-name=src,discard=unmap,file.driver=file,file.filename=${at('source')}`],
          ...['--blockdev', `driver=qcow2,node-name=tgt,backing=src,file.driver=file,file.filename=${at('target')}`],
          ...['--chardev', 'stdio,id=c', '--monitor', 'c'],
          ...['--nbd-server', `addr.type=unix,addr.path=${socket}`, '--export', 'type=nbd,id=e,node-name=src,name=,writable=on'],
        ),
        socket,
      );
      try {
        daemon.child.stdin?.write(
          '{"execute":"qmp_capabilities"}\n{"execute":"blockdev-backup","arguments":{"job-id":"j","device":"src","target":"tgt","sync":"none"}}\n',
        );
        await new Promise((resolve) => setTimeout(resolve, 300));
        const rate = fio(`nbd+unix:///?socket=${socket}`, ['--rw=randwrite', '--bs=64k', '--iodepth=4', '--size=1g']);
        const saved = statSync(at('target')).blocks * 512;
        if (saved < 1024 * 1024 * 1024) throw new Error(`the target holds ${saved} bytes only: no copies before writes were made`);
        return rate;
      } finally {
        await daemon.stop();
        for (const name of ['source', 'target']) rmSync(at(name), { force: true });
      }
    },
  }),
};

export const rows: readonly Row[] = [
  guestWrites,
  startUp,
  convert('raw', 'qcow2'),
  convert('qcow2', 'raw'),
  ...(['raw', 'qcow2'] as const).flatMap((format) => [reads(16, format), reads(1, format), copies(1, format), copies(4, format)]),
];
