/*
 * `compare`: whether two images hold the same data. Areas that both read as zeros are not read.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import type { BlockBackend } from '../core/block/backend.ts';
import type { ChainStatus } from '../core/block/block-status.ts';
import { parseCache } from '../core/block/cache-mode.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPending, type Maybe } from '../core/util/maybe.ts';
import { firstDifference, firstNonZero, ImageReader } from '../jobs/image-reader.ts';
import { forceShareOption, type ImageCommand, imageCommand, makeObjects, newEngine, objectOption, openImage, quietOption } from './image-command.ts';
import { Progress } from './progress.ts';

const exits = { identical: 0, different: 1, cannotOpen: 2, cannotTell: 3, cannotRead: 4 } as const;

/** Bytes read at once. */
const chunkSize = 2 * 1024 * 1024;

/** A verdict other than identical, with its exit code. */
class Difference extends Error {
  readonly exit: number;

  constructor(message: string, exit: number = exits.different) {
    super(message);
    this.exit = exit;
  }
}

export const command: ImageCommand = imageCommand({
  usage: ['[[-f FMT] [-F FMT] | --image-opts] [-s] [-T CACHE]', '[-U] [-p] [-q] [--object OBJDEF] FILE1 FILE2'],
  summary: 'Tell whether two images hold the same data: exit code 0 if they do, 1 if not, more if that cannot be told.',
  options: {
    help: helpOption,
    aFormat: { short: 'f', arg: 'FMT', help: 'format of FILE1 (default: found by its content)', complete: 'format' },
    bFormat: { short: 'F', arg: 'FMT', help: 'format of FILE2 (default: found by its content)', complete: 'format' },
    imageOpts: { help: 'FILE1 and FILE2 are lists of options (key=value,...) and no filenames\n(not together with -f and -F)' },
    strict: { short: 's', help: 'sizes and allocation must be the same too' },
    cache: { short: 'T', arg: 'CACHE', help: 'cache mode (default: writeback)', complete: 'cache' },
    forceShare: forceShareOption,
    progress: { short: 'p', help: 'show how far it is' },
    quiet: quietOption,
    object: objectOption,
  },
  operands: [{ name: 'FILE1, FILE2', help: 'the images: filenames, or options with --image-opts' }],
  async run({ options, operands }, { report }) {
    const [first, second] = operands;
    if (first === undefined || second === undefined || operands.length > 2) throw new UsageError('Expecting two image file names');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const progress = new Progress(report, options.progress && !options.quiet, 2);
    try {
      progress.at(0);
      const cache = parseCache(options.cache, 'Invalid source cache option');
      const { imageOpts, forceShare } = options;
      const one = await openImage(engine, report, { filename: first, format: options.aFormat, imageOpts, forceShare, cache });
      const two = await openImage(engine, report, { filename: second, format: options.bFormat, imageOpts, forceShare, cache });
      const say = (text: string): void => {
        if (!options.quiet) report.print(`${text}\n`);
      };
      try {
        checkMedium(one, first);
        checkMedium(two, second);
        await new Comparison(one, two, first, second, options.strict, say, (percent) => progress.at(percent)).run();
        say('Images are identical.');
        return exits.identical;
      } catch (error) {
        if (!(error instanceof Difference)) throw error;
        if (error.exit === exits.different) say(error.message);
        else report.message(error.message);
        return error.exit;
      }
    } catch (error) {
      return Math.max(exits.cannotOpen, report.error(error));
    } finally {
      progress.end();
    }
  },
});

function checkMedium(image: BlockBackend, name: string): void {
  try {
    image.mediumSize((reason) => `Can't get size of ${name}: ${reason}`);
  } catch (error) {
    throw error instanceof BlockError ? new Difference(error.message, exits.cannotRead) : error;
  }
}

class Comparison {
  readonly #one: ImageReader;
  readonly #two: ImageReader;
  readonly #names: readonly [string, string];
  readonly #isStrict: boolean;
  readonly #say: (text: string) => void;
  readonly #progress: (percent: number) => void;
  readonly #bufferOne = Buffer.allocUnsafeSlow(chunkSize);
  readonly #bufferTwo = Buffer.allocUnsafeSlow(chunkSize);

  constructor(
    one: BlockBackend,
    two: BlockBackend,
    nameOne: string,
    nameTwo: string,
    isStrict: boolean,
    say: (text: string) => void,
    progress: (percent: number) => void,
  ) {
    this.#one = new ImageReader(one);
    this.#two = new ImageReader(two);
    this.#names = [nameOne, nameTwo];
    this.#isStrict = isStrict;
    this.#say = say;
    this.#progress = progress;
  }

  /** Throws Difference at the first one. */
  async run(): Promise<void> {
    const common = Math.min(this.#one.size, this.#two.size);
    const whole = Math.max(this.#one.size, this.#two.size);
    if (this.#isStrict && this.#one.size !== this.#two.size) throw new Difference('Strict mode: Image size mismatch!');
    for (let at = 0; at < common; ) {
      at += await this.#step(at, common - at);
      this.#progress((at / whole) * 100);
    }
    if (this.#one.size === this.#two.size) return;
    this.#say('Warning: Image size mismatch!');
    const [longer, name] = this.#one.size > this.#two.size ? ([this.#one, this.#names[0]] as const) : ([this.#two, this.#names[1]] as const);
    for (let at = common; at < whole; ) {
      const status = await this.#status(longer, name, at, whole - at);
      let length = Math.min(status.length, whole - at);
      if (status.allocated && !status.zero) {
        length = Math.min(length, chunkSize);
        await this.#mustBeZero(longer, name, at, length);
      }
      at += length;
      this.#progress((at / whole) * 100);
    }
  }

  /** Compares a run of equal state; its length. */
  async #step(at: number, left: number): Promise<number> {
    const one = await this.#status(this.#one, this.#names[0], at, left);
    const two = await this.#status(this.#two, this.#names[1], at, left);
    let length = Math.min(one.length, two.length, left);
    if (
      this.#isStrict &&
      (one.allocated !== two.allocated || one.zero !== two.zero || one.data !== two.data || (one.compressed ?? false) !== (two.compressed ?? false))
    ) {
      throw new Difference(`Strict mode: Offset ${at} block status mismatch!`);
    }
    if (one.zero && two.zero) return length;
    if (one.allocated !== two.allocated) {
      length = Math.min(length, chunkSize);
      if (one.allocated) await this.#mustBeZero(this.#one, this.#names[0], at, length);
      else await this.#mustBeZero(this.#two, this.#names[1], at, length);
      return length;
    }
    if (!one.allocated) return length;
    length = Math.min(length, chunkSize);
    const a = this.#bufferOne.subarray(0, length);
    const b = this.#bufferTwo.subarray(0, length);
    await this.#read(this.#one, this.#names[0], at, a);
    await this.#read(this.#two, this.#names[1], at, b);
    const different = firstDifference(a, b);
    if (different >= 0) throw new Difference(`Content mismatch at offset ${at + different}!`);
    return length;
  }

  async #mustBeZero(image: ImageReader, name: string, at: number, length: number): Promise<void> {
    const buffer = this.#bufferOne.subarray(0, length);
    await this.#read(image, name, at, buffer);
    const found = firstNonZero(buffer);
    if (found >= 0) throw new Difference(`Content mismatch at offset ${at + found}!`);
  }

  async #status(image: ImageReader, name: string, at: number, length: number): Promise<ChainStatus> {
    try {
      const status: Maybe<ChainStatus> = image.status(at, length);
      return isPending(status) ? await status : status;
    } catch (error) {
      throw error instanceof BlockError ? new Difference(`Sector allocation test failed for ${name}`, exits.cannotTell) : error;
    }
  }

  async #read(image: ImageReader, name: string, at: number, into: Uint8Array): Promise<void> {
    try {
      const pending = image.read(at, into);
      if (isPending(pending)) await pending;
    } catch (error) {
      throw error instanceof BlockError ? new Difference(`Error while reading offset ${at} of ${name}: ${error.message}`, exits.cannotRead) : error;
    }
  }
}
