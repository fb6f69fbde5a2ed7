/* Commands of the qemu-io language that act on the program or on how the image is open: open, close, signals, reopen, breakpoints. */
import type { DebugPoints } from '../../core/block/debug-points.ts';
import type { BlockNode } from '../../core/block/node.ts';
import { BlockError } from '../../core/util/errors.ts';
import { perm } from '../../core/util/perm-bits.ts';
import { byteCount, failureText } from './parse.ts';
import { type FreeContext, type IoContext, waitForBackground } from './requests.ts';

export async function openFile({ given, host }: FreeContext): Promise<boolean> {
  await host.program?.open(given);
  return true;
}

export async function closeFile({ host, backend }: IoContext): Promise<boolean> {
  await waitForBackground(backend);
  await host.program?.close();
  return true;
}

/** A monitor does not end the process of its images for a word on one of them. */
export async function raise({ host }: FreeContext, signal: number | 'SIGABRT'): Promise<boolean> {
  if (host.program === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  host.program.raise(signal);
  return true;
}

export async function sigraise(context: FreeContext): Promise<boolean> {
  const signal = byteCount(context.given.operands[0] ?? '');
  return signal === 0 ? true : raise(context, signal);
}

export async function reopen({ given, host, backend }: IoContext): Promise<boolean> {
  const { flags } = given;
  if (flags.has('r') && flags.has('w')) throw new BlockError('Only one -r/-w option may be given', { code: 'ERR_USAGE' });
  const readOnly = flags.has('r') ? true : flags.has('w') ? false : undefined;
  if (host.reopen === undefined) throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
  await waitForBackground(backend);
  const before = backend.perms;
  // a writer cannot stay on a node that becomes read-only
  if (readOnly === true) backend.setPerm(before.perm & ~(perm.write | perm.writeUnchanged), before.shared);
  try {
    await host.reopen(backend, { readOnly, cache: flags.get('c'), options: flags.get('o') });
  } catch (error) {
    if (readOnly === true) backend.setPerm(before.perm, before.shared);
    throw error;
  }
  return true;
}

/** The breakpoints of the first node from the top that has some. */
function debugPoints({ backend }: IoContext): DebugPoints {
  let node: BlockNode | undefined = backend.node;
  while (node !== undefined) {
    if (node.state.debug !== undefined) return node.state.debug;
    node = node.primary?.node;
  }
  throw new BlockError('Operation not supported', { code: 'ENOTSUP' });
}

async function attempt(context: IoContext, what: string, act: (points: DebugPoints) => void): Promise<boolean> {
  try {
    act(debugPoints(context));
    return true;
  } catch (error) {
    context.out(`${what}: ${failureText(error)}\n`);
    return false;
  }
}

export function setBreak(context: IoContext): Promise<boolean> {
  const [event = '', tag = ''] = context.given.operands;
  return attempt(context, 'Could not set breakpoint', (points) => points.debugBreakpoint(event, tag));
}

export function removeBreak(context: IoContext): Promise<boolean> {
  const [tag = ''] = context.given.operands;
  return attempt(context, `Could not remove breakpoint ${tag}`, (points) => points.debugRemoveBreakpoint(tag));
}

export function resume(context: IoContext): Promise<boolean> {
  const [tag = ''] = context.given.operands;
  return attempt(context, 'Could not resume request', (points) => points.debugResume(tag));
}

/** In milliseconds: the wait that has no end goes in parts. */
const aWhile = 60_000;

/** Waits for ever for a tag that no request meets, as the peer does, also on an image that has no breakpoints. */
export async function waitBreak(context: IoContext): Promise<boolean> {
  const [tag = ''] = context.given.operands;
  try {
    await debugPoints(context).debugSuspended(tag);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    for (;;) await context.clock.sleep(aWhile);
  }
  return true;
}
