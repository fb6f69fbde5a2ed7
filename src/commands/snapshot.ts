/*
 * `snapshot`: the list of snapshots inside an image. Making, applying and deleting them is not part of this version.
 * Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import { BlockError } from '../core/util/errors.ts';
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

const actions = ['list', 'apply', 'create', 'delete'];

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-l | -a|-c|-d SNAPSHOT]', '[-U] [-q] [--object OBJDEF] FILE'],
  summary: 'List the snapshots inside an image.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    list: { short: 'l', help: 'list the snapshots (default)' },
    create: { short: 'c', arg: 'SNAPSHOT', help: 'make a snapshot (not in this version)' },
    apply: { short: 'a', arg: 'SNAPSHOT', help: 'go back to a snapshot (not in this version)' },
    delete: { short: 'd', arg: 'SNAPSHOT', help: 'delete a snapshot (not in this version)' },
    forceShare: forceShareOption,
    quiet: quietOption,
    object: objectOption,
  },
  operands: [fileOperand],
  async run({ options, operands, order }, { report }) {
    const wanted = order.filter(({ key }) => actions.includes(key));
    if (wanted.length > 1) throw new UsageError("Cannot mix '-l', '-a', '-c', '-d'");
    const [filename] = operands;
    if (filename === undefined || operands.length > 1) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const action = wanted[0]?.key ?? 'list';
    if (action !== 'list') throw new BlockError(`'snapshot --${action}' is not part of this version`, { code: 'ERR_ABSENT' });
    const backend = await openImage(engine, report, { filename, format: options.format, imageOpts: options.imageOpts, forceShare: options.forceShare });
    const list = backend.node?.state.snapshots?.() ?? [];
    if (list.length > 0) report.print(`${snapshotTable(list).join('\n')}\n`);
    return 0;
  },
});
