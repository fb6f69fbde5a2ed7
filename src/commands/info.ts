/*
 * `info`: what an image is, alone or with its backing chain. Opens without the backing images and touches no guest data.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import { type CacheMode, parseCache } from '../core/block/cache-mode.ts';
import { type ImageInfo, imageInfo, infoJson } from '../core/block/info.ts';
import { BlockError } from '../core/util/errors.ts';
import { writeJson } from '../core/util/json-write.ts';
import type { Engine } from '../engine/engine.ts';
import { infoText } from '../texts/image-info.ts';
import {
  type CommandContext,
  checkOutput,
  fileOperand,
  forceShareOption,
  type ImageCommand,
  imageCommand,
  imageOptsOption,
  makeObjects,
  newEngine,
  objectOption,
  openImage,
  outputOption,
} from './image-command.ts';

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [--backing-chain] [-U]', '[-t CACHE] [--limits] [--output human|json]', '[--object OBJDEF] FILE'],
  summary: 'Show what an image is: its format, sizes, backing file, snapshots and what its format records.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    backingChain: { help: 'show the images below FILE too, one after the other' },
    cache: { short: 't', arg: 'CACHE', help: 'cache mode (default: writeback)', complete: 'cache' },
    forceShare: forceShareOption,
    limits: { help: 'show sizes and alignments of requests too' },
    output: outputOption,
    object: objectOption,
  },
  operands: [fileOperand],
  check: (key, value) => {
    if (key === 'output') checkOutput(value);
  },
  async run({ options, operands }, context) {
    const [filename] = operands;
    if (filename === undefined || operands.length > 1) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const cache = parseCache(options.cache, 'Invalid cache option');
    const how: ChainOptions = {
      format: options.format,
      imageOpts: options.imageOpts,
      forceShare: options.forceShare,
      cache,
      isChain: options.backingChain,
      withLimits: options.limits,
    };
    const infos = await collect(engine, context, filename, how);
    const isJson = options.output === 'json';
    const first = infos[0];
    if (!isJson) context.report.print(infos.map(infoText).join('\n'));
    else if (options.backingChain) context.report.print(`${writeJson(infos.map(infoJson), { pretty: true })}\n`);
    else if (first !== undefined) context.report.print(`${writeJson(infoJson(first), { pretty: true })}\n`);
    return 0;
  },
});

interface ChainOptions {
  readonly format: string | undefined;
  readonly imageOpts: boolean;
  readonly forceShare: boolean;
  readonly cache: CacheMode;
  readonly isChain: boolean;
  readonly withLimits: boolean;
}

async function collect(engine: Engine, { report }: CommandContext, start: string, how: ChainOptions): Promise<ImageInfo[]> {
  const infos: ImageInfo[] = [];
  const seen = new Set<string>();
  let filename: string | undefined = start;
  let { format, imageOpts } = how;
  while (filename !== undefined) {
    if (seen.has(filename)) throw new BlockError(`Backing file '${filename}' creates an infinite loop.`, { code: 'ELOOP' });
    seen.add(filename);
    const backend = await openImage(engine, report, { filename, format, imageOpts, cache: how.cache, forceShare: how.forceShare, metadataOnly: true });
    const node = backend.node;
    if (node === undefined) break;
    const info = await imageInfo(node, how.withLimits);
    infos.push(info);
    await engine.closeBackend(backend);
    filename = how.isChain ? (info.backing?.full ?? info.backing?.filename) : undefined;
    format = info.backing?.format;
    imageOpts = false;
  }
  return infos;
}
