/*
 * `snapshot`: the snapshots inside an image, listed, made, applied and deleted. Rule source: observed behaviour of
 * qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import type { BlockNode } from '../core/block/node.ts';
import { applySnapshot, createSnapshot, deleteSnapshot, snapshotsOf } from '../core/block/snapshots.ts';
import type { SnapshotDetails } from '../core/block/stores.ts';
import { BlockError } from '../core/util/errors.ts';
import { decodeName, encodeName } from '../core/util/name-codec.ts';
import type { Engine } from '../engine/engine.ts';
import { snapshotTable } from '../texts/image-info.ts';
import {
  fileOperand,
  forceShareOption,
  type ImageCommand,
  imageCommand,
  imageOptsOption,
  makeObjects,
  newEngine,
  objectOption,
  openImage,
  quietOption,
} from './image-command.ts';

type Action = 'list' | 'apply' | 'create' | 'delete';
const actions: readonly string[] = ['list', 'apply', 'create', 'delete'] satisfies Action[];
/** Bytes of a name that are kept. */
const maxName = 255;

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-l | -a|-c|-d SNAPSHOT]', '[-U] [-q] [--object OBJDEF] FILE'],
  summary: 'List, make, apply or delete the snapshots inside an image.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    list: { short: 'l', help: 'list the snapshots (default)' },
    create: { short: 'c', arg: 'SNAPSHOT', help: 'keep the disk as it is now under this name' },
    apply: { short: 'a', arg: 'SNAPSHOT', help: 'make the disk what it was, by ID or name;\nwhat it holds now is lost' },
    delete: { short: 'd', arg: 'SNAPSHOT', help: 'delete the first snapshot of this name' },
    forceShare: forceShareOption,
    quiet: quietOption,
    object: objectOption,
  },
  operands: [fileOperand],
  async run({ options, operands, order }, { report }) {
    const wanted = order.filter(({ key }) => actions.includes(key));
    if (wanted.length > 1) throw new UsageError("Cannot mix '-l', '-a', '-c', '-d'");
    const [filename, ...more] = operands;
    if (filename === undefined || more.length > 0) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const { format, imageOpts, forceShare } = options;
    const changes = wanted[0] !== undefined && wanted[0].key !== 'list';
    const backend = await openImage(engine, report, { filename, format, imageOpts, forceShare, writable: changes, discard: changes });
    const { node } = backend;
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    if (options.create !== undefined) await told(`Could not create snapshot '${options.create}': `, create(engine, node, options.create));
    else if (options.apply !== undefined) await told(`Could not apply snapshot '${options.apply}': `, applySnapshot(engine.graph, node, options.apply));
    else if (options.delete !== undefined) await told(`Could not delete snapshot '${options.delete}': `, deleteSnapshot(engine.graph, node, options.delete));
    else {
      const list = snapshotsOf(node);
      if (list.length > 0) report.print(`${snapshotTable(list).join('\n')}\n`);
    }
    await engine.closeBackend(backend);
    return 0;
  },
});

async function told(context: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(context) : error;
  }
}

/** A snapshot without the state of a machine, taken now. */
async function create(engine: Engine, node: BlockNode, name: string): Promise<void> {
  const microseconds = Math.floor(engine.clock.now() * 1000);
  const details: SnapshotDetails = {
    name: decodeName(encodeName(name).subarray(0, maxName)),
    vmStateSize: 0,
    dateSec: Math.floor(microseconds / 1_000_000),
    dateNsec: (microseconds % 1_000_000) * 1000,
    vmClockNsec: 0n,
    icount: 0n,
  };
  await createSnapshot(engine.graph, node, details);
}
