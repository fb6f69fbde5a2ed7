/*
 * `resize`: a new size for an image, absolute or relative. Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import type { Prealloc } from '../core/storage/storage.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseSizeOption } from '../core/util/size.ts';
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
  sectorSize,
} from './image-command.ts';

const preallocations: readonly string[] = ['off', 'metadata', 'falloc', 'full'] satisfies Prealloc[];

function isPrealloc(text: string): text is Prealloc {
  return preallocations.includes(text);
}

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [--preallocation MODE] [--shrink]', '[-q] [--object OBJDEF] FILE [+-]SIZE[bkKMGTPE]'],
  summary: 'Change the size of an image.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    shrink: { help: 'allow a smaller size: what lies beyond it is lost' },
    preallocation: { arg: 'MODE', help: 'how the new area is filled: off, metadata, falloc or full', complete: preallocations },
    quiet: quietOption,
    object: objectOption,
  },
  operands: [fileOperand, { name: '[+-]SIZE[bkKMGTPE]', help: 'the new size, or by how much to grow (+) or shrink (-)' }],
  // a size to shrink by looks like an option
  acceptsAsOperand: (word, previous) => previous !== undefined && /^-\d/.test(word),
  check: (key, value) => {
    if (key === 'preallocation' && !isPrealloc(value)) {
      throw new BlockError(`Invalid preallocation mode '${value}'`, { code: 'ERR_OPTION', hint: meantValue(value, preallocations) });
    }
  },
  async run({ options, operands }, { report }) {
    const [filename, sizeText, ...more] = operands;
    if (filename === undefined || sizeText === undefined) throw new UsageError('Expecting image file name and size');
    if (more.length > 0) throw new UsageError('Extra argument(s) in command line');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const sign = sizeText.startsWith('+') ? 1 : sizeText.startsWith('-') ? -1 : 0;
    const amount = parseSizeOption('size', sign === 0 ? sizeText : sizeText.slice(1));
    const prealloc: Prealloc = options.preallocation !== undefined && isPrealloc(options.preallocation) ? options.preallocation : 'off';
    const backend = await openImage(engine, report, { filename, format: options.format, imageOpts: options.imageOpts, writable: true, resizes: true });
    const current = sectorSize(backend.mediumSize((reason) => `Failed to inquire current image length: ${reason}`));
    const size = Number(BigInt.asIntN(64, sign === 0 ? amount : BigInt(current) + BigInt(sign) * amount));
    if (size <= 0) throw new BlockError('New image size must be positive', { code: 'ERR_USAGE' });
    if (size <= current && prealloc !== 'off') throw new BlockError('Preallocation can only be used for growing images', { code: 'ERR_USAGE' });
    if (size < current && !options.shrink) {
      report.message('Use the --shrink option to perform a shrink operation.');
      report.warning(
        "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.",
      );
      return 1;
    }
    await backend.truncate(size, { exact: true, prealloc });
    if (!options.quiet) report.print('Image resized.\n');
    return 0;
  },
});
