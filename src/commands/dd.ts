/*
 * `dd`: a part of an image, in blocks, copied into a new one. Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption } from '../cli/options.ts';
import type { BlockDriver } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending } from '../core/util/maybe.ts';
import { parseSizeExact } from '../core/util/size.ts';
import { createImage } from '../engine/create.ts';
import type { Engine } from '../engine/engine.ts';
import { copyImages } from '../jobs/image-copy.ts';
import { ImageReader, type Window } from '../jobs/image-reader.ts';
import { CreationOptions, creatingDriver } from './create-options.ts';
import { type CommandContext, forceShareOption, type ImageCommand, imageCommand, makeObjects, newEngine, objectOption, openImage } from './image-command.ts';
import { removedOnSignal } from './interrupted.ts';

/** Bytes in a block when `bs=` does not say. */
const defaultBlock = 512n;
const maxBlock = 2147483647n;

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of INPUT (default: found by its content)', complete: 'format' },
  imageOpts: { help: 'INPUT is a list of options (key=value,...) and no filename\n(not together with --format)' },
  outputFormat: { short: 'O', arg: 'OUTPUT_FMT', help: 'format of OUTPUT (default: raw)', complete: 'format' },
  forceShare: forceShareOption,
  object: objectOption,
});

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-O OUTPUT_FMT] [-U] [--object OBJDEF]', '[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT'],
  summary: 'Copy a part of an image into a new one, of another format if wanted.',
  options: table,
  operands: [
    { name: 'bs=BLOCK_SIZE', help: 'bytes in a block (default: 512)' },
    { name: 'count=BLOCKS', help: 'how many blocks are copied (default: all)' },
    { name: 'skip=BLOCKS', help: 'how many blocks of INPUT are left out first' },
    { name: 'if=INPUT', help: 'the image to copy: a filename, or options with --image-opts' },
    { name: 'of=OUTPUT', help: 'the image to be made' },
  ],
  async run({ options, operands }, context) {
    const asked = readOperands(operands);
    const { input, output } = asked;
    if (input === undefined || output === undefined) throw new UsageError('Must specify both input and output files', { showTry: false });
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const { format, imageOpts, forceShare } = options;
    const source = await openImage(engine, context.report, { filename: input, format, imageOpts, forceShare });
    const window = windowOf(
      asked,
      source.mediumSize(() => `Failed to get size for '${input}'`),
    );
    if (window === undefined) context.report.message(`${input}: cannot skip to specified offset`);
    const reader = new ImageReader(source, window ?? { start: 0, length: 0 });
    await write(engine, context, reader, { format: options.outputFormat ?? 'raw', filename: output });
    return 0;
  },
});

interface Asked {
  readonly input: string | undefined;
  readonly output: string | undefined;
  readonly block: bigint;
  readonly count: bigint | undefined;
  readonly skip: bigint;
}

function readOperands(operands: readonly string[]): Asked {
  const given = new Map<string, string>();
  for (const word of operands) {
    const at = word.indexOf('=');
    const name = at < 0 ? word : word.slice(0, at);
    if (at < 0 || !['if', 'of', 'bs', 'count', 'skip'].includes(name)) throw new UsageError(`unrecognized operand ${name}`, { showTry: false });
    const value = word.slice(at + 1);
    if (name !== 'if' && name !== 'of') check(name, value);
    given.set(name, value);
  }
  const number = (name: string): bigint | undefined => {
    const text = given.get(name);
    return text === undefined ? undefined : parseSizeExact(text, name);
  };
  return { input: given.get('if'), output: given.get('of'), block: number('bs') ?? defaultBlock, count: number('count'), skip: number('skip') ?? 0n };
}

function check(name: string, value: string): void {
  parseSizeExact(value, name, name === 'bs' ? { min: 1n, max: maxBlock } : {});
}

/** What is to be copied of `size` bytes; undefined when it would begin behind them. */
function windowOf({ block, count, skip }: Asked, size: number): Window | undefined {
  const start = block * skip;
  if (start > BigInt(size)) return undefined;
  const rest = BigInt(size) - start;
  const wanted = count === undefined ? rest : block * count;
  return { start: Number(start), length: Number(wanted < rest ? wanted : rest) };
}

interface Output {
  readonly format: string;
  readonly filename: string;
}

async function write(engine: Engine, { report }: CommandContext, reader: ImageReader, { format, filename }: Output): Promise<void> {
  const values = new CreationOptions(await driverFor(engine, format, filename));
  values.set('size', BigInt(reader.size));
  using _unfinished = removedOnSignal(engine, filename);
  try {
    await createImage(engine, format, filename, values.forDriver());
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`${filename}: error while creating output image: `) : error;
  }
  const target = await openImage(engine, report, { filename, format, imageOpts: false, writable: true });
  const failure = (what: string): string => `error while ${what === 'write' ? 'writing to output' : 'reading from input'} image file: `;
  await copyImages({ sources: [reader], target, sparse: 0, isTargetZero: false, failure, budget: engine.budget });
  const flushed = target.flush();
  if (isPending(flushed)) await flushed;
}

/** The driver of the output; a format that there is not is told without its name, as by the peer. */
async function driverFor(engine: Engine, format: string, filename: string): Promise<BlockDriver> {
  try {
    return await creatingDriver(engine, format, filename);
  } catch (error) {
    const isUnknown = error instanceof BlockError && error.message === `Unknown file format '${format}'`;
    throw isUnknown ? error.with({ message: 'Unknown file format' }) : error;
  }
}
