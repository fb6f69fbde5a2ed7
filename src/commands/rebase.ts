/*
 * `rebase`: another backing file under an image, with the data that keep it as it is, or in name only. Rule source: observed
 * behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption, type Parsed } from '../cli/options.ts';
import { type BlockBackend, readerPerms } from '../core/block/backend.ts';
import { prepareBacking } from '../core/block/backing.ts';
import { type CacheMode, parseCache } from '../core/block/cache-mode.ts';
import { imageBelow, skipFilters } from '../core/block/chain.ts';
import { drainNodes } from '../core/block/drain.ts';
import { fullBackingName } from '../core/block/info.ts';
import type { BlockNode } from '../core/block/node.ts';
import { runTransaction } from '../core/block/transaction.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import { driverEntries } from '../engine/drivers.ts';
import type { Engine } from '../engine/engine.ts';
import { copyDifferences, unitOf } from '../jobs/rebase-copy.ts';
import { findInChain } from './find-in-chain.ts';
import {
  type CommandContext,
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
import { Progress } from './progress.ts';

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  imageOpts: imageOptsOption,
  cache: { short: 't', arg: 'CACHE', help: 'cache mode of FILE (default: writeback)', complete: 'cache' },
  backing: { short: 'b', arg: 'BACKING_FILE', help: 'the backing file from now on; an empty name for none', complete: 'file' },
  backingFormat: { short: 'B', also: ['F'], arg: 'BACKING_FMT', help: 'format of BACKING_FILE', complete: 'format' },
  backingCache: { short: 'T', arg: 'BACKING_CACHE', help: 'cache mode of the backing files (default: writeback)', complete: 'cache' },
  backingUnsafe: { short: 'u', help: 'change the name only: FILE reads otherwise if the backing files differ' },
  compress: { short: 'c', help: 'store compressed what has to be copied into FILE' },
  forceShare: forceShareOption,
  progress: { short: 'p', help: 'show how far it is' },
  quiet: quietOption,
  object: objectOption,
});
type Options = Parsed<typeof table>;

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-t CACHE] [-b BACKING_FILE [-B BACKING_FMT]', '[-T BACKING_CACHE]] [-u] [-c] [-U] [-p] [-q] [--object OBJDEF] FILE'],
  summary: 'Change the backing file of an image.',
  options: table,
  operands: [fileOperand],
  async run({ options, operands }, context) {
    const [filename, ...more] = operands;
    if (filename === undefined || more.length > 0) throw new UsageError('Expecting one image file name');
    if (!options.backingUnsafe && options.backing === undefined) throw new UsageError('Must specify backing file (-b) or use unsafe mode (-u)');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const progress = new Progress(context.report, options.progress && !options.quiet, 1);
    try {
      await new Rebase(engine, context, options, filename).run(progress);
      progress.at(100);
    } finally {
      progress.end();
    }
    return 0;
  },
});

class Rebase {
  readonly #engine: Engine;
  readonly #context: CommandContext;
  readonly #options: Options;
  readonly #filename: string;

  constructor(engine: Engine, context: CommandContext, options: Options, filename: string) {
    this.#engine = engine;
    this.#context = context;
    this.#options = options;
    this.#filename = filename;
  }

  async run(progress: Progress): Promise<void> {
    const { backingUnsafe, backingFormat, format, imageOpts } = this.#options;
    const name = this.#options.backing ?? '';
    progress.at(0);
    const cache = parseCache(this.#options.cache, 'Invalid cache option');
    const backingCache = parseCache(this.#options.backingCache, 'Invalid source cache option');
    const overlay = await openImage(this.#engine, this.#context.report, {
      filename: this.#filename,
      format,
      imageOpts,
      cache,
      writable: true,
      noBacking: backingUnsafe,
    });
    const node = overlay.node === undefined ? undefined : skipFilters(overlay.node);
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    if (this.#options.compress && !node.takesCompressed) throw new BlockError('Compression not supported for this file format', { code: 'ENOTSUP' });
    if (backingFormat !== undefined && !driverEntries.some((entry) => entry.name === backingFormat && entry.kind !== 'filter')) {
      throw new BlockError(`Invalid format name: '${backingFormat}'`, { code: 'ERR_NOT_FOUND' });
    }
    if (!backingUnsafe) await this.#copy(overlay, node, name, backingCache, progress);
    await this.#record(node, name);
  }

  /** Copies what differs between the old chain and the new one. */
  async #copy(overlay: BlockBackend, node: BlockNode, name: string, cache: CacheMode, progress: Progress): Promise<void> {
    const { budget } = this.#engine;
    const below = imageBelow(node);
    await using from = below === undefined ? undefined : await this.#engine.attachBackend(below, readerPerms);
    const common = name === '' ? undefined : findInChain(node, name);
    await using to =
      name === '' ? undefined : common === undefined ? await this.#open(node, name, cache) : await this.#engine.attachBackend(common, readerPerms);
    const isCompressed = this.#options.compress;
    const onProgress = (done: number, total: number): void => progress.at((done / total) * 100);
    await copyDifferences({ overlay, from, to, common, unit: unitOf(node, isCompressed), isCompressed, onProgress, budget });
    // the data before the name that needs them
    const flushed = overlay.flush();
    if (isPending(flushed)) await flushed;
  }

  async #open(node: BlockNode, name: string, cache: CacheMode): Promise<BlockBackend> {
    const { backingFormat: format, forceShare } = this.#options;
    try {
      return await this.#engine.openBackend({ filename: fullBackingName(node, name) ?? name, format, forceShare, cache });
    } catch (error) {
      throw error instanceof BlockError ? error.prepend(`Could not open new backing file '${name}': `) : error;
    }
  }

  /** Writes the name into the image; nothing is below it any more. */
  async #record(node: BlockNode, name: string): Promise<void> {
    const { backingFormat } = this.#options;
    const what = `Could not change the backing file to '${name}': `;
    if (name !== '' && backingFormat === undefined) throw new BlockError(`${what}backing format must be specified`, { code: 'ERR_OPTION' });
    const { graph } = this.#engine;
    try {
      await graph.turn(async () => {
        using _section = await drainNodes([node]);
        const prepared = await prepareBacking(graph, node, { below: null, record: name === '' ? 'none' : { filename: name, format: backingFormat } });
        try {
          runTransaction((transaction) => prepared.apply(transaction));
        } finally {
          await prepared.settle();
        }
      });
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      throw error.code === 'ENOSPC' ? new BlockError(`${what}No space left in the file header`, { code: 'ENOSPC' }) : error.prepend(what);
    }
  }
}
