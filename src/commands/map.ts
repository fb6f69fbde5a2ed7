/*
 * `map`: where the data of an image lie, extent by extent, through its backing chain.
 * Rule source: observed behaviour of qemu-img 11.1; the JSON form is its own, one extent a line.
 */
import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import type { Reporter } from '../cli/report.ts';
import { nodeStatus } from '../core/block/block-status.ts';
import { imageBelow, skipFilters } from '../core/block/chain.ts';
import type { BlockStatus } from '../core/block/driver.ts';
import { nodeFilename } from '../core/block/filename.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseSize } from '../core/util/size.ts';
import { type Extent, humanMap, jsonMap, type MapForm } from '../texts/image-map.ts';
import {
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
  sectorSize,
} from './image-command.ts';

/** Longest run that is asked for at once. */
const maxQuery = 1024 ** 3;
/** Text collected before it is printed. */
const printChunk = 64 * 1024;

const nothing = { present: false, zero: false, data: false, compressed: false, offset: undefined, file: undefined };

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-s OFFSET] [-l LENGTH]', '[--output human|json] [-U] [--object OBJDEF] FILE'],
  summary: 'Show where the data of an image lie, extent by extent.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    startOffset: { short: 's', arg: 'OFFSET', help: 'begin at this offset of the image' },
    maxLength: { short: 'l', arg: 'LENGTH', help: 'look at this many bytes, not up to the end' },
    output: outputOption,
    forceShare: forceShareOption,
    object: objectOption,
  },
  operands: [fileOperand],
  check: (key, value) => {
    if (key === 'output') checkOutput(value);
    if (key === 'startOffset') parseSize(value, 'start offset');
    if (key === 'maxLength') parseSize(value, 'max length');
  },
  async run({ options, operands }, { report }) {
    const [filename] = operands;
    if (filename === undefined || operands.length > 1) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const start = options.startOffset === undefined ? 0 : parseSize(options.startOffset, 'start offset');
    const length = options.maxLength === undefined ? undefined : parseSize(options.maxLength, 'max length');
    const backend = await openImage(engine, report, { filename, format: options.format, imageOpts: options.imageOpts, forceShare: options.forceShare });
    const node = backend.node;
    if (node === undefined) return 1;
    const printer = new Printer(report, options.output === 'json' ? jsonMap : humanMap);
    // the heading comes before whatever goes wrong
    printer.flush();
    const size = sectorSize(backend.mediumSize(() => `Failed to get size for '${filename}'`));
    const end = length === undefined ? size : Math.min(size, start + length);
    let current: Extent | undefined;
    for (let at = start; at < end; ) {
      const next = await extentAt(skipFilters(node), at, Math.min(maxQuery, end - at)).catch((error: unknown) => {
        printer.flush();
        throw error instanceof BlockError ? error.prepend('Could not read file metadata: ') : error;
      });
      at += next.length;
      if (current !== undefined && continues(current, next)) current.length += next.length;
      else {
        if (current !== undefined) printer.add(current, false);
        current = next;
      }
    }
    printer.add(current ?? { ...nothing, start, length: 0, depth: 0 }, true);
    return 0;
  },
});

/** The run at `offset`: the first layer that has something to say about it decides. */
async function extentAt(top: BlockNode, offset: number, length: number): Promise<Extent> {
  let node = top;
  let depth = 0;
  let left = length;
  for (;;) {
    const status = offset >= node.size() ? await paddingOf(node, offset, left) : await nodeStatus(node, offset, left, true);
    left = Math.min(left, status.length);
    if (status.data || status.zero) {
      const { hostOffset, holder } = status;
      return {
        start: offset,
        length: left,
        depth,
        present: status.allocated,
        zero: status.zero,
        data: status.data,
        compressed: status.compressed ?? false,
        offset: hostOffset,
        file: hostOffset === undefined || holder === undefined ? undefined : nodeFilename(holder),
      };
    }
    const below = imageBelow(node);
    if (below === undefined) return { ...nothing, start: offset, length: left, depth };
    node = below;
    depth++;
  }
}

/** What follows the last byte of an image up to the end of its sector: as a hole of its file, where it has one there. */
async function paddingOf(node: BlockNode, offset: number, length: number): Promise<BlockStatus> {
  const size = node.size();
  const padding = { length, data: false, zero: true, allocated: false };
  if (size === 0 || offset >= sectorSize(size)) return padding;
  const last = await nodeStatus(node, size - 1, 1, true);
  if (last.hostOffset === undefined) return padding;
  return { ...padding, allocated: last.allocated, hostOffset: last.hostOffset + (offset - size) + 1, holder: last.holder };
}

function continues(before: Extent, next: Extent): boolean {
  return (
    before.zero === next.zero &&
    before.data === next.data &&
    before.compressed === next.compressed &&
    before.present === next.present &&
    before.depth === next.depth &&
    before.file === next.file &&
    (before.offset === undefined ? next.offset === undefined : next.offset === before.offset + before.length)
  );
}

/** Collects lines and prints them in pieces. */
class Printer {
  readonly #report: Reporter;
  readonly #form: MapForm;
  #text: string;

  constructor(report: Reporter, form: MapForm) {
    this.#report = report;
    this.#form = form;
    this.#text = form.heading;
  }

  add(extent: Extent, isLast: boolean): void {
    try {
      this.#text += this.#form.line(extent, isLast);
    } catch (error) {
      this.flush();
      throw error;
    }
    if (isLast || this.#text.length >= printChunk) this.flush();
  }

  flush(): void {
    this.#report.print(this.#text);
    this.#text = '';
  }
}
