/*
 * Random but repeatable histories of QMP commands for the storage daemon: nodes, references, backups, exports and their
 * ends in any order, right and wrong. The same seed gives the same history. Data only; what is left out is what no
 * order determines (a job that runs to its end by itself).
 */
import { type Random, seeded } from '../support/random.ts';
import type { Script, Step } from './qmp-harness.ts';

const nodes: readonly string[] = ['a', 'b', 'c', 'd', 'e', 'f'];
const files: readonly string[] = [
  'disk.qcow2',
  'target.qcow2',
  'second.qcow2',
  'small.qcow2',
  'big.qcow2',
  'base.qcow2',
  'overlay.qcow2',
  'disk.raw',
  'other.raw',
];
const jobs = ['j', 'k'];
const exportIds = ['x', 'y'];

class History {
  readonly #random: Random;
  /** Names of the machine's devices; none for a storage daemon. */
  readonly #devices: readonly string[];

  constructor(seed: number, devices: readonly string[]) {
    this.#random = seeded(seed);
    this.#devices = devices;
  }

  #one<T>(from: readonly [T, ...T[]] | readonly T[]): T {
    return from[this.#random(from.length)] as T;
  }

  #maybe(percent: number, text: () => Record<string, unknown>): Record<string, unknown> {
    return this.#random(100) < percent ? text() : {};
  }

  #node(): string {
    if (this.#devices.length > 0 && this.#random(3) === 0) return this.#one(this.#devices);
    return this.#random(30) === 0 ? 'nosuch' : this.#one(nodes);
  }

  #child(depth: number): unknown {
    return this.#random(2) === 0 || depth > 2 ? this.#node() : this.#blockdev(depth + 1);
  }

  #blockdev(depth: number): Record<string, unknown> {
    const name = depth === 0 || this.#random(6) === 0 ? { 'node-name': this.#one(nodes) } : {};
    const common = {
      ...name,
      ...this.#maybe(15, () => ({ 'read-only': this.#random(2) === 0 })),
      ...this.#maybe(5, () => ({ 'auto-read-only': true })),
      ...this.#maybe(8, () => ({ discard: this.#one(['unmap', 'ignore']) })),
      ...this.#maybe(4, () => ({ 'force-share': this.#random(2) === 0 })),
      ...this.#maybe(4, () => ({ 'detect-zeroes': this.#one(['off', 'on', 'unmap']) })),
    };
    const file = (): unknown => (this.#random(4) === 0 ? this.#child(depth) : { driver: 'file', filename: this.#one(files) });
    switch (this.#random(10)) {
      case 0:
        return { driver: 'null-co', ...common, ...this.#maybe(70, () => ({ size: 4194304 })) };
      case 1:
      case 2:
        return {
          driver: 'raw',
          ...common,
          file: file(),
          ...this.#maybe(10, () => ({ offset: 65536 * this.#random(4), ...this.#maybe(70, () => ({ size: 1048576 })) })),
        };
      case 3:
        return { driver: 'copy-before-write', ...common, file: this.#child(depth), target: this.#child(depth) };
      case 4:
        return { driver: 'snapshot-access', ...common, file: this.#child(depth) };
      case 5:
        return { driver: 'file', ...common, filename: this.#one(files) };
      default:
        return { driver: 'qcow2', ...common, file: file(), ...this.#maybe(45, () => ({ backing: this.#random(3) === 0 ? null : this.#child(depth) })) };
    }
  }

  #backup(): Record<string, unknown> {
    return {
      ...this.#maybe(90, () => ({ 'job-id': this.#one(jobs) })),
      device: this.#node(),
      target: this.#node(),
      sync: this.#random(12) === 0 ? this.#one(['bitmap', 'incremental']) : 'none',
      ...this.#maybe(15, () => ({ 'filter-node-name': this.#one(nodes) })),
      ...this.#maybe(10, () => ({ 'auto-dismiss': this.#random(2) === 0 })),
      ...this.#maybe(10, () => ({ 'auto-finalize': this.#random(2) === 0 })),
      ...this.#maybe(5, () => ({ compress: true })),
      ...this.#maybe(5, () => ({ 'discard-source': true })),
    };
  }

  step(): Step[] {
    return this.#devices.length > 0 && this.#random(3) === 0 ? this.#humanStep() : this.#command();
  }

  /** A line of the human monitor. */
  #humanStep(): Step[] {
    const device = this.#random(6) === 0 ? this.#node() : this.#one(this.#devices);
    const offset = 65536 * this.#random(40) + (this.#random(3) === 0 ? 512 * this.#random(128) : 0);
    const length = this.#one([512, 4096, 65536, 100352, 262144]);
    switch (this.#random(12)) {
      case 0:
        return [`hmp block_resize ${device} ${8 + this.#random(8)}M`];
      case 1:
        return [`hmp drive_del ${this.#random(3) === 0 ? device : this.#node()}`, 'settle'];
      case 2:
        return [`hmp block_job_${this.#one(['cancel', 'pause', 'resume', 'complete'])} ${device}`, 'settle'];
      case 3:
        return [`hmp nbd_server_add ${this.#random(2) === 0 ? '-w ' : ''}${device}${this.#random(2) === 0 ? ` ${this.#one(exportIds)}` : ''}`];
      case 4:
        return [`hmp drive_add 0 if=none,id=${this.#one([...nodes, ...this.#devices])},file=@/${this.#one(files)},format=${this.#one(['qcow2', 'raw'])}`];
      case 5:
        return [`hmp info ${this.#one(['block', 'block-jobs', 'block -n', 'block -v'])}`];
      case 6:
        return [`blockdev-backup {"device":"${device}","target":"${this.#node()}","sync":"none"}`, 'settle'];
      default: {
        const verb = this.#one(['write -P 7', 'write -z', 'write -P 8', 'read', 'read', 'discard']);
        return [`hmp qemu-io ${device} "${verb} ${offset} ${length}"`];
      }
    }
  }

  /** A command of QMP. */
  #command(): Step[] {
    const command = (name: string, args: Record<string, unknown> = {}): Step => `${name} ${JSON.stringify(args)}`;
    switch (this.#random(24)) {
      case 10:
      case 11:
      case 12:
        return [command('blockdev-del', { 'node-name': this.#node() })];
      case 13:
      case 14:
        return [command('blockdev-backup', this.#backup()), 'settle'];
      case 15: {
        const actions = Array.from({ length: 1 + this.#random(3) }, () => ({ type: 'blockdev-backup', data: this.#backup() }));
        return [command('transaction', { actions, ...this.#maybe(30, () => ({ properties: { 'completion-mode': 'grouped' } })) }), 'settle'];
      }
      case 16:
      case 17: {
        const verb = this.#one(['cancel', 'cancel', 'pause', 'resume', 'complete', 'finalize', 'dismiss'] as const);
        const id = this.#one(jobs);
        if (this.#random(2) === 0) return [command(`job-${verb}`, { id }), 'settle'];
        const how = verb === 'finalize' || verb === 'dismiss' ? { id } : { device: id };
        return [command(`block-job-${verb}`, { ...how, ...(verb === 'cancel' ? this.#maybe(30, () => ({ force: true })) : {}) }), 'settle'];
      }
      case 18:
        return [command('nbd-server-start', { addr: { type: 'unix', data: { path: '@/nbd.sock' } } })];
      case 19:
      case 20: {
        if (this.#random(4) === 0) {
          return [
            command('nbd-server-add', {
              device: this.#node(),
              ...this.#maybe(50, () => ({ name: this.#one(exportIds) })),
              ...this.#maybe(50, () => ({ writable: true })),
            }),
          ];
        }
        return [
          command('block-export-add', {
            type: 'nbd',
            id: this.#one(exportIds),
            'node-name': this.#node(),
            ...this.#maybe(50, () => ({ name: this.#one(exportIds) })),
            ...this.#maybe(50, () => ({ writable: this.#random(3) !== 0 })),
          }),
        ];
      }
      case 21:
        if (this.#random(6) === 0) return ['nbd-server-stop'];
        return [
          this.#random(2) === 0 ? command('block-export-del', { id: this.#one(exportIds) }) : command('nbd-server-remove', { name: this.#one(exportIds) }),
        ];
      case 22:
        return [command('block_resize', { 'node-name': this.#node(), size: 1048576 * (8 + this.#random(8)) })];
      case 23:
        return [this.#one(['x-debug-query-block-graph', 'query-named-block-nodes', 'query-block-exports', 'query-jobs', 'query-block-jobs', 'query-block'])];
      default:
        return [command('blockdev-add', this.#blockdev(0))];
    }
  }
}

const disks = [
  { name: 'hd0', file: '@/disk.qcow2', format: 'qcow2' },
  { name: 'hd1', file: '@/disk.raw', format: 'raw' },
];

/** The history of `seed`: `length` commands for a storage daemon or a machine, and what they came to. */
export function qmpHistory(seed: number, length: number, isMachine = false): Script {
  const history = new History(seed, isMachine ? disks.map(({ name }) => name) : []);
  const steps = Array.from({ length }, () => history.step()).flat();
  return {
    name: `history ${seed}`,
    eventsApart: true,
    ...(isMachine ? { disks } : {}),
    steps: [...steps, 'query-named-block-nodes', 'query-block-exports', 'query-jobs', 'x-debug-query-block-graph'],
  };
}
