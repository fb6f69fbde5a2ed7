/*
 * `bitmap`: adds, removes, clears, enables, disables and merges the persistent bitmaps of an image, in the order given. What
 * the actions do is in engine/ops/bitmaps.ts. Rule source: observed behaviour of qemu-img 11.1.
 */
import { UsageError } from '../cli/getopt.ts';
import { defineOptions, helpOption, type ParseResult } from '../cli/options.ts';
import type { Reporter } from '../cli/report.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { parseSizeExact } from '../core/util/size.ts';
import type { Engine } from '../engine/engine.ts';
import { runAction } from '../engine/ops/action.ts';
import { addBitmapAction, clearBitmapAction, enableBitmapAction, mergeBitmapAction, removeBitmapAction } from '../engine/ops/bitmaps.ts';
import { fileOperand, type ImageCommand, imageCommand, imageOptsOption, makeObjects, newEngine, objectOption, openImage } from './image-command.ts';

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format of FILE (default: found by its content)', complete: 'format' },
  imageOpts: imageOptsOption,
  add: { many: true, help: 'make BITMAP; it records what changes from then on' },
  granularity: { short: 'g', arg: 'SIZE', help: 'with --add: bytes a bit, a power of two (default: the cluster size,\n4k to 64k)' },
  remove: { many: true, help: 'remove BITMAP' },
  removeAll: { many: true, help: 'remove all bitmaps of FILE' },
  clear: { many: true, help: 'mark everything as unchanged' },
  enable: { many: true, help: 'record what changes' },
  disable: { many: true, help: 'stop recording' },
  merge: { arg: 'SOURCE', many: true, help: 'mark what the bitmap SOURCE marks too' },
  sourceFile: { short: 'b', arg: 'SRC_FILE', help: 'with --merge: the image that SOURCE is in (default: FILE)', complete: 'file' },
  sourceFormat: { short: 'F', arg: 'SRC_FMT', help: 'format of SRC_FILE', complete: 'format' },
  object: objectOption,
});

const verbs = {
  add: 'add',
  remove: 'remove',
  removeAll: 'remove-all',
  clear: 'clear',
  enable: 'enable',
  disable: 'disable',
  merge: 'merge',
} as const;
type Verb = keyof typeof verbs;

interface Step {
  readonly verb: Verb;
  /** Of the bitmap to merge. */
  readonly source: string;
}

function isVerb(key: string): key is Verb {
  return Object.hasOwn(verbs, key);
}

/** 0: the usual one. */
function parseGranularity(text: string): number {
  return Number(parseSizeExact(text, 'granularity'));
}

export const command: ImageCommand = imageCommand({
  usage: [
    '[-f FMT | --image-opts]',
    '(--add [-g SIZE] | --remove | --remove-all | --clear | --enable |',
    ' --disable | --merge SOURCE [-b SRC_FILE [-F SRC_FMT]])...',
    '[--object OBJDEF] FILE [BITMAP]',
  ],
  summary: 'Change the persistent bitmaps of an image; actions are carried out in the order given.',
  options: table,
  operands: [fileOperand, { name: 'BITMAP', help: 'the name of the bitmap to be changed (not with --remove-all alone)' }],
  check: (key, value) => {
    if (key === 'granularity') parseGranularity(value);
  },
  async run(parsed, { report }) {
    const { options, operands } = parsed;
    const steps: readonly Step[] = parsed.order.flatMap(({ key, value }) => (isVerb(key) ? [{ verb: key, source: value ?? '' }] : []));
    checkUse(parsed, steps);
    const [filename = '', bitmap = ''] = operands;
    await using engine = newEngine();
    await makeObjects(engine, options.object);
    const backend = await openImage(engine, report, { filename, format: options.format, imageOpts: options.imageOpts, writable: true, noBacking: true });
    const { sourceFile, sourceFormat } = options;
    const source =
      sourceFile === undefined ? backend : await openImage(engine, report, { filename: sourceFile, format: sourceFormat, imageOpts: false, noBacking: true });
    const { node } = backend;
    const sourceNode = source.node;
    if (node === undefined || sourceNode === undefined) return 1;
    const granularity = options.granularity === undefined ? 0 : parseGranularity(options.granularity);
    const isDone = await carryOutAll(steps, report, (step) => carryOut(engine, node, bitmap, { ...step, from: sourceNode, granularity }), bitmap);
    const isStored = (await node.state.bitmapStore?.store()) ?? true;
    if (!isStored) report.message('Error while closing the image: Invalid argument');
    return isDone && isStored ? 0 : 1;
  },
});

/** Until the first that fails, which is told before the image is closed; those before it stay done. */
async function carryOutAll(steps: readonly Step[], report: Reporter, body: (step: Step) => Promise<void>, bitmap: string): Promise<boolean> {
  for (const step of steps) {
    try {
      await body(step);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      report.error(error.prepend(`Operation ${verbs[step.verb]} on bitmap ${bitmap} failed: `));
      return false;
    }
  }
  return true;
}

/** Throws for options that do not go together, in the peer's order. */
function checkUse({ options, operands }: ParseResult<typeof table>, steps: readonly Step[]): void {
  const [first] = steps;
  if (first === undefined)
    throw new BlockError('Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge', { code: 'ERR_USAGE' });
  const takesName = steps.some(({ verb }) => verb !== 'removeAll');
  if (options.granularity !== undefined && parseGranularity(options.granularity) !== 0 && options.add === 0)
    throw new BlockError('granularity only supported with --add', { code: 'ERR_USAGE' });
  if (options.sourceFormat !== undefined && options.sourceFile === undefined) throw new BlockError('-F only supported with -b', { code: 'ERR_USAGE' });
  if (options.sourceFile !== undefined && options.merge.length === 0)
    throw new BlockError('Merge bitmap source file only supported with --merge', { code: 'ERR_USAGE' });
  if (operands.length !== (takesName ? 2 : 1))
    throw new UsageError(takesName ? 'Expecting filename and bitmap name' : 'Expecting filename', { showTry: false });
}

async function carryOut(engine: Engine, node: BlockNode, name: string, how: Step & { readonly from: BlockNode; readonly granularity: number }): Promise<void> {
  const bitmap = { node: node.name, name };
  switch (how.verb) {
    case 'add':
      return runAction(engine, addBitmapAction(engine, { ...bitmap, granularity: how.granularity === 0 ? undefined : how.granularity, persistent: true }));
    case 'remove':
      return runAction(engine, removeBitmapAction(engine, bitmap));
    case 'removeAll':
      for (const { name: other } of [...node.dirtyBitmaps]) {
        if (other !== undefined) await runAction(engine, removeBitmapAction(engine, { node: node.name, name: other }));
      }
      return undefined;
    case 'clear':
      return runAction(engine, clearBitmapAction(engine, bitmap));
    case 'enable':
    case 'disable':
      return runAction(engine, enableBitmapAction(engine, bitmap, how.verb === 'enable'));
    case 'merge':
      return runAction(engine, mergeBitmapAction(engine, { node: node.name, target: name, bitmaps: [{ node: how.from.name, name: how.source }] }));
  }
}
