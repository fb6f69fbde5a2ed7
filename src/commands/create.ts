/*
 * `create`: a new image, with or without a backing file. What is wrong on the command line is told before the line
 * "Formatting …", what the format's driver finds wrong after it. Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import { exactFilename } from '../core/block/filename.ts';
import { combineFilename, stripProtocol } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { largestDisk } from '../core/util/offsets.ts';
import { parseSizeExact } from '../core/util/size.ts';
import { createImage } from '../engine/create.ts';
import type { Engine } from '../engine/engine.ts';
import { asksForHelp, CreationOptions, checkOptionList, creatingDriver, joinOptionLists, printOptionHelp, setBacking } from './create-options.ts';
import { type ImageCommand, imageCommand, makeObjects, newEngine, objectOption, quietOption, sectorSize } from './image-command.ts';

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT] [-o OPTIONS]', '[-b BACKING_FILE [-B BACKING_FMT]] [-u]', '[-q] [--object OBJDEF] FILE [SIZE]'],
  summary: 'Make a new image; an existing file is overwritten.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of the new image (default: raw)', complete: 'format' },
    options: { short: 'o', arg: 'OPTIONS', many: true, help: "options of the format, key=value,... ('-o help' lists them)" },
    backing: { short: 'b', arg: 'BACKING_FILE', help: 'the new image records only what differs from BACKING_FILE', complete: 'file' },
    backingFormat: { short: 'B', also: ['F'], arg: 'BACKING_FMT', help: 'format of BACKING_FILE (needed with -b)', complete: 'format' },
    backingUnsafe: { short: 'u', help: 'do not look whether BACKING_FILE can be opened' },
    quiet: quietOption,
    object: objectOption,
  },
  operands: [
    { name: 'FILE', help: 'the image to be made' },
    { name: 'SIZE[bkKMGTPE]', help: 'its size in bytes, a suffix multiplies by powers of 1024\n(may be left out with BACKING_FILE)' },
  ],
  check: (key, value) => {
    if (key === 'options') checkOptionList(value);
  },
  async run({ options, operands }, { report }) {
    const format = options.format ?? 'raw';
    const list = joinOptionLists(options.options);
    const [filename, sizeText, unexpected] = operands;
    await using engine = newEngine();
    if (asksForHelp(list)) {
      printOptionHelp(report, await creatingDriver(engine, format, filename), filename !== undefined);
      return 0;
    }
    if (filename === undefined) throw new UsageError('Expecting image file name');
    await makeObjects(engine, options.object);
    const size = sizeText === undefined ? undefined : parseSizeExact(sizeText, 'image size');
    if (unexpected !== undefined) throw new UsageError(`Unexpected argument: ${unexpected}`);
    try {
      const driver = await creatingDriver(engine, format, filename);
      const values = new CreationOptions(driver);
      if (list !== undefined) values.parse(list);
      if (size !== undefined) setSize(values, size);
      setBacking(values, format, options.backing, options.backingFormat);
      checkBackingName(values, filename);
      await checkBacking(engine, values, filename, options.backingUnsafe);
      if (values.integer('size') === undefined) throw new BlockError('Image creation needs a size parameter', { code: 'ERR_OPTION' });
      if (!options.quiet) report.print(`Formatting '${filename}', fmt=${format} ${values.formatting()}\n`);
      checkLargest(values);
      await createImage(engine, format, filename, values.forDriver()).catch((error: unknown) => {
        throw error instanceof BlockError && error.code === 'EFBIG' ? tooLarge(values, format) : error;
      });
      return 0;
    } catch (error) {
      throw error instanceof BlockError ? error.prepend(`${filename}: `) : error;
    }
  },
});

function tooLarge(values: CreationOptions, format: string): BlockError {
  const advice = values.has('cluster_size') ? ' (try using a larger cluster size)' : '';
  return new BlockError(`The image size is too large for file format '${format}'${advice}`, { code: 'EFBIG' });
}

/** Sizes that do not fit a signed 64-bit number in whole sectors, or that no request could reach the end of. */
function checkLargest(values: CreationOptions): void {
  const size = ((values.integer('size') ?? 0n) + 511n) & ~511n;
  if (values.driver.isFilterLike === true || size <= largestDisk) return;
  if (size >= 2n ** 63n) throw new BlockError('Could not resize image: Image size cannot be negative', { code: 'ERR_USAGE' });
  throw new BlockError(`Could not resize image: offset(${size}) exceeds maximum(${largestDisk})`, { code: 'ERR_USAGE' });
}

function setSize(values: CreationOptions, size: bigint): void {
  if (values.integer('size') !== undefined) throw new BlockError('The image size must be specified only once', { code: 'ERR_USAGE' });
  values.set('size', size);
}

/** Refuses backing names that can be seen to be wrong. */
function checkBackingName(values: CreationOptions, filename: string): void {
  const given = values.text('backing_file');
  if (given === '') throw new BlockError('Expected backing file name, got empty string', { code: 'ERR_USAGE' });
  if (given !== undefined && given === filename)
    throw new BlockError('Error: Trying to create an image with the same filename as the backing file', { code: 'ERR_IN_USE' });
}

/** Opens the backing file to see that it can be, and takes its size when none was given. */
async function checkBacking(engine: Engine, values: CreationOptions, filename: string, isUnsafe: boolean): Promise<void> {
  const backing = values.text('backing_file');
  if (backing === undefined) return;
  const format = values.text('backing_fmt');
  if (isUnsafe) {
    if (format === undefined) throw new BlockError('Backing file specified without backing format', { code: 'ERR_USAGE' });
    return;
  }
  const full = combineFilename(stripProtocol(filename), backing);
  const found = await lookAtChain(engine, full, format, new Set()).catch((error: unknown) => {
    throw error instanceof BlockError ? error.with({ detail: `${error.detail === undefined ? '' : `${error.detail}\n`}Could not open backing image.` }) : error;
  });
  if (format === undefined) {
    throw new BlockError('Backing file specified without backing format', { code: 'ERR_USAGE', detail: `Detected format of ${found.format}.` });
  }
  if (values.integer('size') === undefined) values.set('size', BigInt(found.size));
}

/** Opens an image and those below it, one after the other, without holding them: others may go on writing. */
async function lookAtChain(engine: Engine, filename: string, format: string | undefined, seen: Set<string>): Promise<{ format: string; size: number }> {
  if (seen.has(filename)) throw new BlockError(`Backing file '${filename}' creates an infinite loop.`, { code: 'ELOOP' });
  seen.add(filename);
  const node = await engine.opener.openImage({ filename, format, noIo: true, options: { 'read-only': true, 'force-share': true } });
  const found = { format: node.driver.name, size: sectorSize(node.size()) };
  const below = node.state.imageBacking;
  const base = exactFilename(node.primary?.node ?? node) ?? '';
  await engine.graph.releaseUnused(node);
  if (below === undefined) return found;
  try {
    await lookAtChain(engine, combineFilename(base, below.filename), below.format, seen);
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Could not open backing file: ') : error;
  }
  return found;
}
