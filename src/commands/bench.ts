/*
 * `bench`: equal requests on an image, and the time that they take. Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption } from '../cli/options.ts';
import { type CacheMode, parseCache } from '../core/block/cache-mode.ts';
import { parseCount } from '../core/util/c-integer.ts';
import { BlockError } from '../core/util/errors.ts';
import { formatFixed } from '../core/util/printf.ts';
import { parseSize, type SizeRange } from '../core/util/size.ts';
import { benchRequests } from '../jobs/bench-requests.ts';
import {
  checkNativeAio,
  fileOperand,
  forceShareOption,
  type ImageCommand,
  imageCommand,
  imageOptsOption,
  makeObjects,
  newEngine,
  objectOption,
  openImage,
} from './image-command.ts';

const maxInt = 2147483647n;
const ways: readonly string[] = ['threads', 'native', 'io_uring'];

type Reading = (text: string) => number;

/** An option that is an integer in C's notation. */
function counted(what: string, min: number, max = 2147483647): Reading {
  return (text) => parseCount(text, what, { min, max });
}

/** An option that takes the suffixes of sizes. */
function sized(what: string, range: SizeRange): Reading {
  return (text) => parseSize(text, what, range);
}

const numbers: Readonly<Record<'count' | 'depth' | 'offset' | 'bufferSize' | 'stepSize' | 'pattern' | 'flushInterval', Reading>> = {
  count: counted('request count', 1),
  depth: counted('queue depth', 1),
  offset: sized('offset', {}),
  bufferSize: sized('buffer size', { min: 1n, max: maxInt }),
  stepSize: sized('step size', { max: maxInt }),
  pattern: counted('pattern byte', 0, 255),
  flushInterval: counted('flush interval', 0),
};

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  imageOpts: imageOptsOption,
  cache: { short: 't', arg: 'CACHE', help: 'cache mode (default: writeback)', complete: 'cache' },
  count: { short: 'c', arg: 'COUNT', help: 'number of requests (default: 75000)' },
  depth: { short: 'd', arg: 'DEPTH', help: 'requests at once (default: 64)' },
  offset: { short: 'o', arg: 'OFFSET', help: 'where the first request begins (default: 0)' },
  bufferSize: { short: 's', arg: 'SIZE', help: 'bytes of a request (default: 4k)' },
  stepSize: { short: 'S', arg: 'SIZE', help: 'bytes from one request to the next (default: the size of a request)' },
  write: { short: 'w', help: 'write (default: read)' },
  pattern: { arg: 'BYTE', help: 'the byte that is written (default: 0)' },
  flushInterval: { arg: 'COUNT', help: 'with -w: flush after so many requests' },
  noDrain: { help: 'with --flush-interval: go on meanwhile' },
  aio: { short: 'i', arg: 'AIO', help: 'threads, native or io_uring; checked, the way is our own', complete: ways },
  native: { short: 'n', help: 'the same as -i native' },
  forceShare: forceShareOption,
  quiet: { short: 'q', help: 'accepted; the two lines are printed all the same' },
  object: objectOption,
});

export const command: ImageCommand = imageCommand({
  usage: [
    '[-f FMT | --image-opts] [-t CACHE] [-c COUNT] [-d DEPTH] [-o OFFSET]',
    '[-s SIZE] [-S SIZE] [-w [--pattern BYTE] [--flush-interval COUNT',
    '[--no-drain]]] [-i AIO] [-n] [-U] [-q] [--object OBJDEF] FILE',
  ],
  summary: 'Make requests on an image, and tell how long they took.',
  options: table,
  operands: [fileOperand],
  check: (key, value) => {
    if (isNumber(key)) numbers[key](value);
    if (key === 'aio' && !ways.includes(value)) throw new BlockError(`Invalid aio option: ${value}`, { code: 'ERR_USAGE' });
    if (key === 'cache') cacheMode(value);
  },
  async run({ options, operands }, { report }) {
    const [filename, ...more] = operands;
    if (filename === undefined || more.length > 0) throw new UsageError('Expecting one image file name');
    const value = (key: keyof typeof numbers, byDefault: number): number => {
      const text = options[key];
      return text === undefined ? byDefault : numbers[key](text);
    };
    const [count, depth, offset, length] = [value('count', 75000), value('depth', 64), value('offset', 0), value('bufferSize', 4096)];
    const flushInterval = value('flushInterval', 0);
    if (!options.write && flushInterval > 0) throw new BlockError('--flush-interval is only available in write tests', { code: 'ERR_USAGE' });
    if (flushInterval > 0 && flushInterval < depth) throw new BlockError("Flush interval can't be smaller than depth", { code: 'ERR_USAGE' });
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const { format, imageOpts, forceShare, write } = options;
    const cache = cacheMode(options.cache);
    const backend = await openImage(engine, report, { filename, format, imageOpts, forceShare, cache, writable: write });
    if (options.native || options.aio === 'native') withPlace(filename, () => checkNativeAio(backend.node));
    const step = value('stepSize', 0) || length;
    report.print(
      `Sending ${count} ${write ? 'write' : 'read'} requests, ${length} bytes each, ${depth} in parallel (starting at offset ${offset}, step size ${step})\n`,
    );
    if (flushInterval > 0) report.print(`Sending flush every ${flushInterval} requests\n`);
    const since = engine.clock.now();
    try {
      const pattern = write ? value('pattern', 0) : undefined;
      await benchRequests({ backend, count, depth, offset, length, step, pattern, flushInterval, drains: !options.noDrain, budget: engine.budget });
    } catch (error) {
      throw error instanceof BlockError ? error.prepend('Failed request: ') : error;
    }
    report.print(`Run completed in ${formatFixed((engine.clock.now() - since) / 1000, 3)} seconds.\n`);
    return 0;
  },
});

function isNumber(key: string): key is keyof typeof numbers {
  return key in numbers;
}

function cacheMode(name: string | undefined): CacheMode {
  try {
    return parseCache(name, '');
  } catch (error) {
    throw error instanceof BlockError ? error.with({ message: 'Invalid cache mode' }) : error;
  }
}

function withPlace(filename: string, body: () => void): void {
  try {
    body();
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`Could not open '${filename}': `) : error;
  }
}
