/*
 * `convert`: one or several images copied into another. Here are the arguments and the order in which they are checked;
 * the copying is in jobs/image-copy.ts. Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption, type Parsed } from '../cli/options.ts';
import type { Reporter } from '../cli/report.ts';
import type { BlockBackend } from '../core/block/backend.ts';
import { parseCache } from '../core/block/cache-mode.ts';
import { formatInfo } from '../core/block/info.ts';
import { parseCount } from '../core/util/c-integer.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import { parseSize, parseSizeExact } from '../core/util/size.ts';
import { createImage } from '../engine/create.ts';
import type { Engine } from '../engine/engine.ts';
import { copyImages, isValidSparse } from '../jobs/image-copy.ts';
import { firstNonZero, ImageReader, sector } from '../jobs/image-reader.ts';
import { checkSourceBitmaps, checkTargetBitmaps, copyBitmaps } from './convert-bitmaps.ts';
import { asksForHelp, CreationOptions, checkOptionList, creatingDriver, joinOptionLists, printOptionHelp, setBacking } from './create-options.ts';
import {
  type CommandContext,
  forceShareOption,
  type ImageCommand,
  imageCommand,
  makeObjects,
  newEngine,
  objectOption,
  openImage,
  quietOption,
} from './image-command.ts';
import { removedOnSignal } from './interrupted.ts';
import { Progress } from './progress.ts';
import { checkRate, rateOf } from './rate.ts';
import { checkSnapshotOption, loadSnapshot } from './snapshot-option.ts';

/** Runs of zeros that are left out when `-S` does not say. */
const defaultSparse = 4096;
/** Transfers in flight when `-m` does not say. */
const defaultParallel = 8;
/** Data of a new image that are looked at before it counts as empty. */
const maxProbe = 64 * 1024;

const table = defineOptions({
  help: helpOption,
  sourceFormat: { short: 'f', arg: 'SRC_FMT', help: 'format of all SRC_FILEs (default: found by their content)', complete: 'format' },
  imageOpts: { help: 'each SRC_FILE is a list of options (key=value,...) and no filename\n(not together with -f)' },
  sourceCache: { short: 'T', arg: 'SRC_CACHE', help: 'cache mode of the sources (default: writeback)', complete: 'cache' },
  snapshot: { short: 'l', arg: 'SNAPSHOT', help: 'copy a snapshot of the source, an ID or a name' },
  bitmaps: { help: 'copy persistent bitmaps too' },
  skipBrokenBitmaps: { help: 'with --bitmaps: leave inconsistent ones out' },
  salvage: { help: 'go on where the source cannot be read, with zeros' },
  targetFormat: { short: 'O', arg: 'TGT_FMT', help: 'format of TGT_FILE (default: raw)', complete: 'format' },
  targetImageOpts: { help: 'TGT_FILE is a list of options (key=value,...) and no filename\n(not together with -O, needs -n)' },
  targetFormatOptions: { short: 'o', arg: 'OPTIONS', many: true, help: "options of the new image, key=value,... ('-o help' lists them)" },
  targetCache: { short: 't', arg: 'TGT_CACHE', help: 'cache mode of the target (default: unsafe)', complete: 'cache' },
  backing: { short: 'b', also: ['B'], arg: 'BACKING_FILE', help: 'the new image records only what differs from BACKING_FILE', complete: 'file' },
  backingFormat: { short: 'F', arg: 'BACKING_FMT', help: 'format of BACKING_FILE (needed with -b)', complete: 'format' },
  sparseSize: { short: 'S', arg: 'SIZE', help: 'runs of zeros from this size on are left out (default: 4k)\n0: everything is written' },
  noCreate: { short: 'n', help: 'write to an image that exists already' },
  targetIsZero: { help: 'with -n: the target is known to read as zeros' },
  compress: { short: 'c', help: 'store the data compressed, in whole clusters' },
  forceShare: forceShareOption,
  rateLimit: { short: 'r', arg: 'RATE', help: 'at most this many bytes a second' },
  parallel: { short: 'm', arg: 'COUNT', help: 'transfers at once, 1 to 16 (default: 8), where the media make us wait' },
  copyRangeOffloading: { short: 'C', help: 'let the system copy where it can; accepted for compatibility' },
  oobWrites: { short: 'W', help: 'allow writes out of order; accepted for compatibility' },
  progress: { short: 'p', help: 'show how far it is' },
  quiet: quietOption,
  object: objectOption,
});
type Options = Parsed<typeof table>;

export const command: ImageCommand = imageCommand({
  usage: [
    '[-f SRC_FMT | --image-opts] [-T SRC_CACHE] [--salvage]',
    '[-O TGT_FMT | --target-image-opts] [-o OPTIONS] [-t TGT_CACHE]',
    '[-b BACKING_FILE [-F BACKING_FMT]] [-S SIZE] [-c] [-n] [--target-is-zero]',
    '[-U] [-r RATE] [-m COUNT] [-W] [-C] [-p] [-q] [--object OBJDEF]',
    'SRC_FILE [SRC_FILE2...] TGT_FILE',
  ],
  summary: 'Copy one or more images into another, of another format if wanted.',
  options: table,
  operands: [
    { name: 'SRC_FILE...', help: 'the images to copy, one behind the other: filenames, or options with --image-opts' },
    { name: 'TGT_FILE', help: 'the image to be made: a filename, or options with --target-image-opts' },
  ],
  check: checkValue,
  async run({ options, operands }, context) {
    checkCombinations(options);
    const list = joinOptionLists(options.targetFormatOptions);
    const sources = operands.slice(0, -1);
    const target = sources.length > 0 ? operands[operands.length - 1] : undefined;
    await using engine = newEngine();
    if (asksForHelp(list)) {
      const format = options.targetFormat ?? 'raw';
      printOptionHelp(context.report, await creatingDriver(engine, format, target), target !== undefined);
      return 0;
    }
    if (target === undefined) throw new UsageError('Must specify image file name', { showTry: false });
    if (options.bitmaps && sources.length > 1) throw new BlockError('Copying bitmaps only possible with single source', { code: 'ERR_USAGE' });
    await makeObjects(engine, options.object);
    const sourceCache = parseCache(options.sourceCache, 'Invalid source cache option');
    const progress = new Progress(context.report, options.progress && !options.quiet, 1);
    try {
      progress.at(0);
      const conversion = new Conversion(engine, context, options, target, list);
      for (const filename of sources) {
        await conversion.addSource(filename, sourceCache);
      }
      const code = await conversion.run(progress);
      progress.at(100);
      return code;
    } finally {
      progress.end();
    }
  },
});

function parseParallel(text: string): number {
  return parseCount(text, 'number of coroutines', { min: 1, max: 16 });
}

function checkValue(key: string, value: string, report: Reporter): void {
  switch (key) {
    case 'targetFormatOptions':
      checkOptionList(value);
      return;
    case 'parallel':
      parseParallel(value);
      return;
    case 'rateLimit':
      checkRate(value);
      return;
    case 'sparseSize': {
      const size = parseSizeExact(value, 'buffer size for sparse output');
      if (size > Number.MAX_SAFE_INTEGER || !isValidSparse(Number(size))) {
        throw new BlockError(
          'Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).',
          { code: 'ERR_OPTION' },
        );
      }
      return;
    }
    case 'snapshot':
      checkSnapshotOption(value, report);
      return;
    default:
  }
}

function checkCombinations(options: Options): void {
  if (options.skipBrokenBitmaps && !options.bitmaps) throw new BlockError('Use of --skip-broken-bitmaps requires --bitmaps', { code: 'ERR_USAGE' });
  if (options.targetImageOpts && !options.noCreate) throw new BlockError('--target-image-opts requires use of -n flag', { code: 'ERR_USAGE' });
  if (options.noCreate && options.targetFormatOptions.length > 0) throw new BlockError('-o has no effect when skipping image creation', { code: 'ERR_USAGE' });
  if (options.targetIsZero && !options.noCreate) throw new BlockError('--target-is-zero requires use of -n flag', { code: 'ERR_USAGE' });
  if (options.copyRangeOffloading) {
    if (options.sparseSize !== undefined) throw new BlockError('Cannot enable copy offloading when -S is used', { code: 'ERR_USAGE' });
    if (options.compress) throw new BlockError('Cannot enable copy offloading when -c is used', { code: 'ERR_USAGE' });
    if (options.salvage) throw new BlockError('Cannot use copy offloading in salvaging mode', { code: 'ERR_USAGE' });
  }
}

class Conversion {
  readonly #engine: Engine;
  readonly #context: CommandContext;
  readonly #options: Options;
  readonly #target: string;
  readonly #list: string | undefined;
  readonly #format: string | undefined;
  readonly #sources: ImageReader[] = [];
  #size = 0;

  constructor(engine: Engine, context: CommandContext, options: Options, target: string, list: string | undefined) {
    this.#engine = engine;
    this.#context = context;
    this.#options = options;
    this.#target = target;
    this.#list = list;
    this.#format = options.targetFormat ?? (options.targetImageOpts ? undefined : 'raw');
  }

  async addSource(filename: string, cache: ReturnType<typeof parseCache>): Promise<void> {
    const { sourceFormat, imageOpts, forceShare } = this.#options;
    const backend = await openImage(this.#engine, this.#context.report, { filename, format: sourceFormat, imageOpts, forceShare, cache, noWriters: true });
    const reader = new ImageReader(backend);
    this.#sources.push(reader);
    this.#size += reader.size;
  }

  async run(progress: Progress): Promise<number> {
    const { noCreate, targetIsZero, bitmaps } = this.#options;
    await this.#showSnapshot();
    const creation = noCreate ? undefined : await this.#creation();
    const backing = creation?.text('backing_file') ?? this.#options.backing;
    this.#checkBacking(creation, backing);
    if (this.#options.compress) checkCompression(creation);
    const source = this.#sources[0]?.node;
    if (bitmaps) checkSourceBitmaps(source, this.#options.skipBrokenBitmaps);
    using _unfinished = creation === undefined ? undefined : removedOnSignal(this.#engine, this.#target);
    const readsAsZeros = creation !== undefined && (await this.#create(creation));
    const cache = parseCache(this.#options.targetCache, 'Invalid cache option', 'unsafe');
    if (targetIsZero && backing !== undefined) {
      this.#context.report.message('Cannot use --target-is-zero when the destination image has a backing file');
      return 0;
    }
    const sparse = this.#options.sparseSize === undefined ? defaultSparse : parseSize(this.#options.sparseSize, 'buffer size for sparse output');
    const target = await openImage(this.#engine, this.#context.report, {
      filename: this.#target,
      format: this.#format,
      imageOpts: this.#options.targetImageOpts,
      cache,
      writable: true,
      discard: sparse !== 0,
      ...(creation === undefined ? {} : { options: creation.keySecrets() }),
    });
    const cluster = this.#options.compress ? compressedCluster(target) : undefined;
    if (bitmaps) checkTargetBitmaps(target.node);
    if (noCreate && target.size() < this.#size) throw new BlockError('output file is smaller than input file', { code: 'ERR_STATE' });
    const base = backing === undefined ? undefined : target.node?.backing?.node.size();
    await copyImages({
      sources: this.#sources,
      target,
      sparse,
      isTargetZero: targetIsZero || (creation !== undefined && sparse !== 0 && backing === undefined && (readsAsZeros || (await isZero(target)))),
      targetBackingSize: base,
      onProgress: (done, total) => progress.at((done / total) * 100),
      rate: rateOf(this.#options.rateLimit, this.#engine.clock),
      parallel: this.#options.parallel === undefined ? defaultParallel : parseParallel(this.#options.parallel),
      budget: this.#engine.budget,
      compressedCluster: cluster,
      ...(this.#options.salvage
        ? { onReadError: (offset: number, error: BlockError) => this.#context.report.warning(`error while reading offset ${offset}: ${error.message}`) }
        : {}),
    });
    if (bitmaps && source !== undefined && target.node !== undefined) await copyBitmaps(this.#engine, source, target.node, this.#context.report);
    const flushed = target.flush();
    if (isPending(flushed)) await flushed;
    return 0;
  }

  async #showSnapshot(): Promise<void> {
    const name = this.#options.snapshot;
    if (name === undefined) return;
    if (this.#sources.length > 1 && !name.startsWith('snapshot.'))
      throw new BlockError('No support for concatenating multiple snapshot', { code: 'ERR_USAGE' });
    const node = this.#sources[0]?.node;
    if (node !== undefined) await loadSnapshot(this.#engine.graph, node, name);
  }

  /** Options of the image to be made. */
  async #creation(): Promise<CreationOptions> {
    const format = this.#format ?? 'raw';
    const values = new CreationOptions(await creatingDriver(this.#engine, format, this.#target));
    if (this.#list !== undefined) values.parse(this.#list);
    values.set('size', BigInt(this.#size));
    setBacking(values, format, this.#options.backing, this.#options.backingFormat);
    return values;
  }

  #checkBacking(creation: CreationOptions | undefined, backing: string | undefined): void {
    if (backing === undefined) return;
    if (this.#sources.length > 1)
      throw new BlockError('Having a backing file for the target makes no sense when concatenating multiple input images', { code: 'ERR_USAGE' });
    const format = creation?.text('backing_fmt') ?? this.#options.backingFormat;
    if (creation !== undefined && format === undefined) throw new BlockError('Use of backing file requires explicit backing format', { code: 'ERR_USAGE' });
  }

  async #create(creation: CreationOptions): Promise<boolean> {
    try {
      return await createImage(this.#engine, this.#format ?? 'raw', this.#target, creation.forDriver());
    } catch (error) {
      throw error instanceof BlockError ? error.prepend(`${this.#target}: error while converting ${this.#format ?? 'raw'}: `) : error;
    }
  }
}

function checkCompression(creation: CreationOptions | undefined): void {
  if (creation !== undefined && !creation.has('compression_type')) throw new BlockError('Compression not supported for this file format', { code: 'ENOTSUP' });
  if (creation?.isOn('encryption') === true || creation?.text('encrypt.format') !== undefined)
    throw new BlockError('Compression and encryption not supported at the same time', { code: 'ENOTSUP' });
  const preallocation = creation?.text('preallocation');
  if (preallocation !== undefined && preallocation !== 'off')
    throw new BlockError('Compression and preallocation not supported at the same time', { code: 'ENOTSUP' });
}

/** Bytes in a cluster of a target that takes compressed data. */
function compressedCluster(target: BlockBackend): number {
  const { node } = target;
  if (node?.takesCompressed !== true) throw new BlockError('Compression not supported for this file format', { code: 'ENOTSUP' });
  return formatInfo(node)?.clusterSize ?? sector;
}

/** Whether the target reads as zeros throughout: decided by its allocation, and by looking at a few bytes of data. */
async function isZero(target: BlockBackend): Promise<boolean> {
  const reader = new ImageReader(target);
  let looked = 0;
  for (let at = 0; at < reader.size; ) {
    const status = await reader.status(at, reader.size - at);
    if (!status.zero) {
      looked += status.length;
      if (looked > maxProbe) return false;
      const buffer = Buffer.alloc(status.length);
      await reader.read(at, buffer);
      if (firstNonZero(buffer) >= 0) return false;
    }
    at += status.length;
  }
  return true;
}
