/*
 * `measure`: what a new image would take, by its size or by what an image holds. Rule source: observed behaviour of
 * qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption } from '../cli/options.ts';
import type { Reporter } from '../cli/report.ts';
import type { BlockBackend } from '../core/block/backend.ts';
import type { Measured, MeasureSource } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { writeJson } from '../core/util/json-write.ts';
import { parseSizeExact } from '../core/util/size.ts';
import { driverEntries } from '../engine/drivers.ts';
import type { Engine } from '../engine/engine.ts';
import { ImageReader } from '../jobs/image-reader.ts';
import { CreationOptions, checkOptionList, creatingDriver, joinOptionLists } from './create-options.ts';
import {
  checkOutput,
  forceShareOption,
  type ImageCommand,
  imageCommand,
  makeObjects,
  newEngine,
  objectOption,
  openImage,
  outputOption,
} from './image-command.ts';
import { checkSnapshotOption, loadSnapshot } from './snapshot-option.ts';

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  imageOpts: { help: 'FILE is a list of options (key=value,...) and no filename\n(not together with --format)' },
  snapshot: { short: 'l', arg: 'SNAPSHOT', help: 'take a snapshot of FILE as the source' },
  targetFormat: { short: 'O', arg: 'TARGET_FMT', help: 'format of the image to be made (default: raw)', complete: 'format' },
  targetOptions: { long: null, short: 'o', arg: 'OPTIONS', many: true, help: 'options of the image to be made, key=value,...' },
  output: outputOption,
  forceShare: forceShareOption,
  size: { short: 's', arg: 'SIZE', help: 'an empty image of this size instead of FILE' },
  object: objectOption,
});

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-l SNAPSHOT] [-O TARGET_FMT] [-o OPTIONS]', '[--output human|json] [-U] [--object OBJDEF] (--size SIZE | FILE)'],
  summary: 'Tell how large the file of a new image would be.',
  options: table,
  operands: [{ name: 'FILE', help: 'the image that is to be converted: a filename, or options with --image-opts' }],
  check: (key, value, report) => {
    if (key === 'output') checkOutput(value);
    if (key === 'size') parseSizeExact(value, 'image size');
    if (key === 'targetOptions') checkOptionList(value);
    if (key === 'snapshot') checkSnapshotOption(value, report);
  },
  async run({ options, operands }, { report }) {
    const { format, imageOpts, forceShare, snapshot } = options;
    const [filename, ...more] = operands;
    if (more.length > 0) throw new UsageError('At most one filename argument is allowed.', { showTry: false });
    if (filename === undefined && (imageOpts || format !== undefined || snapshot !== undefined))
      throw new UsageError('--image-opts, -f, and -l require a filename argument.', { showTry: false });
    if (filename === undefined && options.size === undefined) throw new UsageError('Either --size N or one filename must be specified.', { showTry: false });
    if (filename !== undefined && options.size !== undefined) throw new UsageError('--size N cannot be used together with a filename.', { showTry: false });
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const backend = filename === undefined ? undefined : await openImage(engine, report, { filename, format, imageOpts, forceShare });
    if (snapshot !== undefined && backend?.node !== undefined) await loadSnapshot(engine.graph, backend.node, snapshot);
    const measured = await measure(engine, report, backend, {
      format: options.targetFormat ?? 'raw',
      list: joinOptionLists(options.targetOptions),
      size: options.size,
    });
    report.print(options.output === 'json' ? `${writeJson(json(measured), { pretty: true })}\n` : human(measured));
    return 0;
  },
});

interface Target {
  readonly format: string;
  readonly list: string | undefined;
  readonly size: string | undefined;
}

async function measure(engine: Engine, report: Reporter, backend: BlockBackend | undefined, { format, list, size }: Target): Promise<Measured> {
  const driver = await creatingDriver(engine, format);
  const isProtocol = driverEntries.some((entry) => entry.name === format && entry.kind === 'protocol');
  if (isProtocol || driver.measure === undefined) throw new BlockError(`Block driver '${format}' does not support size measurement`, { code: 'ENOTSUP' });
  const values = new CreationOptions(driver);
  try {
    if (list !== undefined) values.parse(list);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    report.message(error.message);
    if (error.detail !== undefined) report.stderr.write(`${error.detail}\n`);
    throw new BlockError(`Invalid options for file format '${format}'`, { code: 'ERR_OPTION' });
  }
  if (size !== undefined) values.set('size', parseSizeExact(size, 'image size'));
  return driver.measure(values.forDriver(), backend === undefined ? undefined : sourceOf(backend));
}

function sourceOf(backend: BlockBackend): MeasureSource {
  const reader = new ImageReader(backend);
  const { node } = reader;
  return {
    size: reader.size,
    status: (offset, length) => reader.status(offset, length),
    bitmaps: node.state.bitmapStore?.isSupported === true ? node.dirtyBitmaps : undefined,
  };
}

function json({ required, fullyAllocated, bitmaps }: Measured): Record<string, unknown> {
  return { bitmaps, required, 'fully-allocated': fullyAllocated };
}

function human({ required, fullyAllocated, bitmaps }: Measured): string {
  const lines = [`required size: ${required}`, `fully allocated size: ${fullyAllocated}`];
  if (bitmaps !== undefined) lines.push(`bitmaps size: ${bitmaps}`);
  return `${lines.join('\n')}\n`;
}
