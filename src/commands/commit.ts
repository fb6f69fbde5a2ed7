/*
 * `commit`: what an image holds goes into its backing file, or into one further down. Rule source: observed behaviour of
 * qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption } from '../cli/options.ts';
import { parseCache } from '../core/block/cache-mode.ts';
import { imageBelow } from '../core/block/chain.ts';
import { makeEmpty } from '../core/block/empty.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { commitInto } from '../jobs/commit.ts';
import { findInChain } from './find-in-chain.ts';
import {
  fileOperand,
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
import { checkRate, rateOf } from './rate.ts';

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  imageOpts: imageOptsOption,
  cache: { short: 't', arg: 'CACHE', help: 'cache mode of the images (default: writeback)', complete: 'cache' },
  base: {
    short: 'b',
    arg: 'BASE',
    help: 'the image of the chain that takes the data\n(default: the backing file; with it FILE is not emptied)',
    complete: 'file',
  },
  drop: { short: 'd', help: 'do not empty FILE afterwards' },
  rateLimit: { short: 'r', arg: 'RATE', help: 'at most this many bytes a second' },
  progress: { short: 'p', help: 'show how far it is' },
  quiet: quietOption,
  object: objectOption,
});

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-t CACHE] [-b BASE] [-d] [-r RATE]', '[-p] [-q] [--object OBJDEF] FILE'],
  summary: 'Copy what an image holds into its backing file.',
  options: table,
  operands: [fileOperand],
  check: (key, value) => {
    if (key === 'rateLimit') checkRate(value);
  },
  async run({ options, operands }, { report }) {
    const [filename, ...more] = operands;
    if (filename === undefined || more.length > 0) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const cache = parseCache(options.cache, 'Invalid cache option');
    const { format, imageOpts } = options;
    const top = await openImage(engine, report, { filename, format, imageOpts, cache, writable: true, discard: true });
    const node = top.node;
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    const progress = new Progress(report, options.progress && !options.quiet, 1);
    try {
      progress.at(0);
      const base = baseOf(node, options.base, filename);
      const { graph, budget } = engine;
      const rate = rateOf(options.rateLimit, engine.clock);
      await commitInto({ graph, top, base, budget, rate, onProgress: (done, total) => progress.at((done / total) * 100) });
      if (!options.drop && options.base === undefined) await emptied(() => makeEmpty(graph, node), filename);
      progress.at(100);
    } finally {
      progress.end();
    }
    await engine.closeBackend(top);
    if (!options.quiet) report.print('Image committed.\n');
    return 0;
  },
});

function baseOf(node: BlockNode, name: string | undefined, filename: string): BlockNode {
  if (name !== undefined) {
    const found = findInChain(node, name);
    if (found === undefined)
      throw new BlockError(`Did not find '${name}' in the backing chain of '${nodeFilename(node) || filename}'`, { code: 'ERR_NOT_FOUND' });
    return found;
  }
  const below = imageBelow(node);
  if (below === undefined) throw new BlockError('Image does not have a backing file', { code: 'ERR_STATE' });
  return below;
}

async function emptied(empty: () => Promise<boolean>, filename: string): Promise<void> {
  try {
    await empty();
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`Could not empty ${filename}: `) : error;
  }
}
