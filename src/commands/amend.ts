/*
 * `amend`: changes what an image records of itself. Knows no format: what can be changed, and how, is the driver's.
 * Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import { parseCache } from '../core/block/cache-mode.ts';
import type { BlockDriver } from '../core/block/driver.ts';
import { BlockError } from '../core/util/errors.ts';
import { AmendOptions, asksForHelp, checkOptionList, joinOptionLists, knownDriver, printAmendHelp } from './create-options.ts';
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

function checkAmendable(driver: BlockDriver): void {
  if (driver.amendOptions === undefined) throw new BlockError(`Format driver '${driver.name}' does not support option amendment`, { code: 'ENOTSUP' });
}

/** In single precision, as the peer's: the last digit shows. */
function percent(done: number, total: number): number {
  return Math.fround(Math.fround(100 * Math.fround(done)) / Math.fround(total));
}

export const command: ImageCommand = imageCommand({
  usage: ['-o OPTIONS [-f FMT | --image-opts]', '[-t CACHE] [--force] [-p] [-q] [--object OBJDEF] FILE'],
  summary: 'Change options that an image records: its compatibility level, its key slots and others.',
  options: {
    help: helpOption,
    options: { short: 'o', arg: 'OPTIONS', many: true, help: "what is to change, key=value,... ('-o help' lists the options)" },
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    cache: { short: 't', arg: 'CACHE', help: 'cache mode (default: writeback)', complete: 'cache' },
    force: { help: 'allow what may lose data: a key slot in use overwritten, the last one erased' },
    progress: { short: 'p', help: 'show the progress' },
    quiet: quietOption,
    object: objectOption,
  },
  operands: [fileOperand],
  check: (key, value) => {
    if (key === 'options') checkOptionList(value);
  },
  async run({ options, operands }, { report }) {
    const list = joinOptionLists(options.options);
    if (list === undefined) throw new UsageError('Must specify options (-o)');
    const filename = operands.length === 1 ? operands[0] : undefined;
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    if (options.format !== undefined && asksForHelp(list)) {
      const driver = await knownDriver(engine, options.format);
      checkAmendable(driver);
      printAmendHelp(report, driver);
      return 0;
    }
    if (filename === undefined) throw new BlockError('Expecting one image file name', { code: 'ERR_USAGE' });
    const cache = parseCache(options.cache, 'Invalid cache option');
    const backend = await openImage(engine, report, { filename, format: options.format, imageOpts: options.imageOpts, cache, writable: true, resizes: true });
    const node = backend.node;
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    const { driver, state } = node;
    checkAmendable(driver);
    if (asksForHelp(list)) {
      printAmendHelp(report, driver);
      return 0;
    }
    const values = new AmendOptions(driver);
    values.parse(list);
    const progress = new Progress(report, options.progress && !options.quiet, 1);
    try {
      progress.at(0);
      await state.amend?.(values.forDriver(), { force: options.force, onProgress: (done, total) => progress.at(percent(done, total)) });
    } finally {
      // also when it failed
      progress.at(100);
      progress.end();
    }
    return 0;
  },
});
