/*
 * `check`: errors and leaks in the structure of an image, repaired with -r. Lines about single findings go to stderr,
 * the verdict to stdout. Rule source: observed behaviour of qemu-img 11.1.
 */

import { UsageError } from '../cli/getopt.ts';
import { helpOption } from '../cli/options.ts';
import type { Reporter } from '../cli/report.ts';
import { parseCache } from '../core/block/cache-mode.ts';
import type { CheckResult } from '../core/block/driver.ts';
import type { BlockNode } from '../core/block/node.ts';
import { didYouMean } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { writeJson } from '../core/util/json-write.ts';
import { formatFixed } from '../core/util/printf.ts';
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
  quietOption,
} from './image-command.ts';

/** Characters of findings that are kept before they are written. */
const flushAt = 8192;

/** Exit codes of `check`. */
const exits = { clean: 0, failed: 1, corrupt: 2, leaks: 3, unsupported: 63 } as const;

export const command: ImageCommand = imageCommand({
  usage: ['[-f FMT | --image-opts] [-T CACHE] [-r leaks|all]', '[-U] [--output human|json] [-q] [--object OBJDEF] FILE'],
  summary: 'Look for errors in the structure of an image, and repair them if asked to.',
  options: {
    help: helpOption,
    format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
    imageOpts: imageOptsOption,
    cache: { short: 'T', arg: 'CACHE', help: 'cache mode (default: writeback)', complete: 'cache' },
    repair: {
      short: 'r',
      arg: 'leaks|all',
      help: 'repair what was found of this kind\n(opens FILE for writing, not together with -U)',
      complete: ['leaks', 'all'],
    },
    forceShare: forceShareOption,
    output: outputOption,
    quiet: quietOption,
    object: objectOption,
  },
  operands: [fileOperand],
  check: (key, value) => {
    if (key === 'output') checkOutput(value);
    if (key === 'repair' && value !== 'leaks' && value !== 'all') {
      throw new UsageError(`--repair (-r) expects 'leaks' or 'all', not '${value}'`, { hint: didYouMean(value, ['leaks', 'all']) });
    }
  },
  async run({ options, operands }, { report }) {
    const [filename] = operands;
    if (filename === undefined || operands.length > 1) throw new UsageError('Expecting one image file name');
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const cache = parseCache(options.cache, 'Invalid source cache option');
    const repair = options.repair;
    const backend = await openImage(engine, report, {
      filename,
      format: options.format,
      imageOpts: options.imageOpts,
      cache,
      forceShare: options.forceShare,
      writable: repair !== undefined,
      toCheck: true,
    });
    const node = backend.node;
    if (node?.state.check === undefined) {
      report.message('This image format does not support checks');
      return exits.unsupported;
    }
    const isJson = options.output === 'json';
    let result = await checkOnce(node, report, { leaks: repair !== undefined, errors: repair === 'all' });
    if (result.leaksFixed > 0 || result.corruptionsFixed > 0) {
      if (!isJson && !options.quiet) report.print(repairText(result));
      const { leaksFixed, corruptionsFixed } = result;
      result = await checkOnce(node, report, { leaks: false, errors: false });
      result.leaksFixed = leaksFixed;
      result.corruptionsFixed = corruptionsFixed;
    }
    if (!options.quiet) report.print(isJson ? resultJson(result, filename, node.driver.name) : resultText(result));
    if (result.checkErrors > 0) {
      report.message('Check failed');
      return exits.failed;
    }
    if (result.corruptions > 0) return exits.corrupt;
    return result.leaks > 0 ? exits.leaks : exits.clean;
  },
});

async function checkOnce(node: BlockNode, report: Reporter, fix: { leaks: boolean; errors: boolean }): Promise<CheckResult> {
  let result: CheckResult | undefined;
  // a broken image may have millions of lines: they are written many at a time
  let lines = '';
  const flush = (): void => {
    if (lines !== '') report.stderr.write(lines);
    lines = '';
  };
  try {
    result = await node.state.check?.(fix, {
      line: (text) => {
        lines += `${text}\n`;
        if (lines.length > flushAt) flush();
      },
      error: (text) => {
        flush();
        report.message(text);
      },
    });
  } catch (error) {
    throw error instanceof BlockError ? error.prepend('Check failed: ') : error;
  } finally {
    flush();
  }
  if (result === undefined) throw new BlockError('This image format does not support checks', { code: 'ENOTSUP' });
  return result;
}

function repairText(result: CheckResult): string {
  return `The following inconsistencies were found and repaired:\n\n    ${result.leaksFixed} leaked clusters\n    ${result.corruptionsFixed} corruptions\n\nDouble checking the fixed image now...\n`;
}

function resultText(result: CheckResult): string {
  let text = '';
  const { corruptions, leaks, checkErrors, totalClusters, allocatedClusters } = result;
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) text += 'No errors were found on the image.\n';
  if (corruptions > 0) text += `\n${corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
  if (leaks > 0) text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`;
  if (totalClusters > 0 && allocatedClusters > 0) {
    const percent = (part: number, whole: number): string => formatFixed((part * 100) / whole, 2);
    text += `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)}% allocated, ${percent(result.fragmentedClusters, allocatedClusters)}% fragmented, ${percent(result.compressedClusters, allocatedClusters)}% compressed clusters\n`;
  }
  if (result.imageEndOffset > 0) text += `Image end offset: ${result.imageEndOffset}\n`;
  return text;
}

function resultJson(result: CheckResult, filename: string, format: string): string {
  const unlessZero = (count: number): number | undefined => (count === 0 ? undefined : count);
  const members = {
    filename,
    format,
    'check-errors': result.checkErrors,
    'image-end-offset': unlessZero(result.imageEndOffset),
    corruptions: unlessZero(result.corruptions),
    leaks: unlessZero(result.leaks),
    'corruptions-fixed': unlessZero(result.corruptionsFixed),
    'leaks-fixed': unlessZero(result.leaksFixed),
    'total-clusters': unlessZero(result.totalClusters),
    'allocated-clusters': unlessZero(result.allocatedClusters),
    'fragmented-clusters': unlessZero(result.fragmentedClusters),
    'compressed-clusters': unlessZero(result.compressedClusters),
  };
  return `${writeJson(members, { pretty: true })}\n`;
}
