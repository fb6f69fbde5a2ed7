/*
 * Driver `blkdebug`: makes requests fail or stop by rules, and gives its node limits of one's choosing. What happens when is
 * decided in blkdebug-rules.ts; here requests ask for it.
 * Rule source: QEMU's documentation of blkdebug.
 */

import { nodeStatus } from '../block/block-status.ts';
import type { Child } from '../block/child.ts';
import type { DebugIoType } from '../block/debug-events.ts';
import { type DerivedLimits, limitsOver } from '../block/derived-limits.ts';
import {
  type BlockDriver,
  type BlockStatus,
  childRole,
  type DriverState,
  type DriverStep,
  type Limits,
  type NodeHost,
  nothingToReopen,
  type PermRequest,
  type ReqFlags,
} from '../block/driver.ts';
import { exactFilename } from '../block/filename.ts';
import type { BlockNode } from '../block/node.ts';
import { asTree, type OptionReader, type OptionTree, type OptionValue } from '../block/options.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import { inPieces } from '../util/in-pieces.ts';
import { isPowerOfTwo } from '../util/math.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';
import { type PermBits, perm, permQapiNames } from '../util/perm-bits.ts';
import { DebugRules, parseRuleFile, readRule, ruleSections } from './blkdebug-rules.ts';

const maxInt = 2 ** 31 - 1;
/** Bytes of a rule file that are read; a larger one is refused. */
const maxRuleFile = 1024 * 1024;

/** Limits as they were asked for; 0: those of the node below. */
interface Overrides {
  readonly align: number;
  readonly maxTransfer: number;
  readonly optWriteZero: number;
  readonly maxWriteZero: number;
  readonly optDiscard: number;
  readonly maxDiscard: number;
}

interface Extras {
  readonly overrides: Overrides;
  readonly taken: PermBits;
  readonly unshared: PermBits;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  /** It has a name when nothing but its rule file was given. */
  readonly config: string | undefined;
}

class BlkdebugState implements DriverState {
  readonly writeFlags: ReqFlags = 0xff;
  readonly debug: DebugRules;
  readonly extras: Extras;
  readonly #image: Child;
  readonly #clock: Clock;
  readonly #limits: DerivedLimits;

  constructor(image: Child, rules: DebugRules, clock: Clock, extras: Extras) {
    this.#image = image;
    this.debug = rules;
    this.#clock = clock;
    this.extras = extras;
    const { align, maxTransfer, optWriteZero, optDiscard } = extras.overrides;
    this.#limits = limitsOver(image, (below) => ({
      ...below,
      requestAlign: align || below.requestAlign,
      maxTransfer: maxTransfer || below.maxTransfer,
      zeroAlign: optWriteZero || below.zeroAlign,
      discardAlign: optDiscard || below.discardAlign,
    }));
  }

  get strongOptions(): Extras['strongOptions'] {
    return this.extras.strongOptions;
  }

  get exactFilename(): string | undefined {
    const below = this.extras.config === undefined ? undefined : exactFilename(this.#image.node);
    return below === undefined ? undefined : `blkdebug:${this.extras.config}:${below}`;
  }

  get limits(): Limits {
    return this.#limits.value;
  }

  size(): number {
    return this.#image.size();
  }

  /** QEMU's has no answer either. */
  allocatedSize(): undefined {}

  /** Throws, or rejects, when a rule says that the request fails. */
  #check(type: DebugIoType, offset: number, length: number): Maybe<void> {
    const met = this.debug.injectionFor(type, offset, length);
    if (met?.error === undefined) return;
    const { error, immediately, delay } = met;
    if (immediately && delay === 0) throw error;
    const wait = delay > 0 ? this.#clock.sleep(delay / 1e6) : this.#clock.nextTurn();
    return wait.then(() => {
      throw error;
    });
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return chain(this.#check('read', offset, into.length), () => this.#image.read(offset, into, flags));
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#around('pwritev', () => chain(this.#check('write', offset, from.length), () => this.#image.write(offset, from, flags)));
  }

  #around<T>(event: 'pwritev' | 'pwritev_zero', body: () => Maybe<T>): Maybe<T> {
    return chain(this.debug.debugEvent(event), () => chain(body(), (result) => chain(this.debug.debugEvent('pwritev_done'), () => result)));
  }

  /** What is smaller than the alignment asked for is written, so that this way is tried too. */
  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    const { requestAlign, zeroAlign } = this.limits;
    return this.#around('pwritev_zero', () => {
      if (length < Math.max(requestAlign, zeroAlign)) return false;
      return chain(
        inPieces(offset, length, this.extras.overrides.maxWriteZero || length, (at, piece) =>
          chain(this.#check('write-zeroes', at, piece), () => this.#image.zero(at, piece, flags)),
        ),
        () => true,
      );
    });
  }

  discard(offset: number, length: number): Maybe<void> {
    if (length < this.limits.discardAlign) return;
    return inPieces(offset, length, this.extras.overrides.maxDiscard || length, (at, piece) =>
      chain(this.#check('discard', at, piece), () => this.#image.discard(at, piece)),
    );
  }

  flush(): Maybe<void> {
    return this.#check('flush', 0, 0);
  }

  status(offset: number, length: number, precise: boolean): Maybe<BlockStatus> {
    return chain(this.#check('block-status', offset, length), () => nodeStatus(this.#image.node, offset, length, precise));
  }

  /** Rules stay as they are, whatever becomes of the node. */
  async reopen(): Promise<DriverStep> {
    return nothingToReopen;
  }

  async close(): Promise<void> {}
}

// -- opening --------------------------------------------------------------------------------------------------------------------

function listOf(value: OptionValue): readonly OptionValue[] {
  return Array.isArray(value) ? value : [];
}

async function readFile(host: NodeHost, path: string): Promise<string> {
  try {
    const storage = await host.openStorage(path, { create: 'never', readOnly: true, direct: false, noFlush: false, locking: 'off' });
    try {
      const size = await storage.size();
      if (size > maxRuleFile) throw new BlockError('File too large', { code: 'EFBIG' });
      const bytes = new Uint8Array(size);
      const read = storage.read(0, bytes);
      if (isPending(read)) await read;
      return Buffer.from(bytes).toString();
    } finally {
      await storage[Symbol.asyncDispose]();
    }
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`Could not open '${path}': `) : error;
  }
}

async function readRules(host: NodeHost, rules: DebugRules, config: string | undefined): Promise<OptionTree> {
  const given: OptionTree = {};
  const groups = config === undefined ? [] : parseRuleFile(await readFile(host, config));
  // all sections of one kind, then those of the other
  for (const section of ruleSections) {
    for (const group of groups) if (group.section === section) rules.add(readRule(section, group.options, (name) => `Invalid parameter '${name}'`));
    const listed = host.options.take(section);
    if (listed !== undefined) given[section] = listed;
    for (const options of listOf(listed)) {
      rules.add(readRule(section, asTree(options), (name) => `[${section}] section doesn't support the option '${name}'`));
    }
  }
  return given;
}

function readOverrides(options: OptionReader, below: Limits): Overrides {
  const read = (name: string, unit: number): number => {
    const value = options.size(name) ?? 0;
    if (value !== 0 && (value >= maxInt || value % unit !== 0)) throw new BlockError(`Cannot meet constraints with ${name} ${value}`, { code: 'EINVAL' });
    return value;
  };
  const align = read('align', 1);
  if (align !== 0 && !isPowerOfTwo(align)) throw new BlockError(`Cannot meet constraints with align ${align}`, { code: 'EINVAL' });
  const unit = Math.max(align, below.requestAlign);
  const maxTransfer = read('max-transfer', unit);
  const optWriteZero = read('opt-write-zero', unit);
  const maxWriteZero = read('max-write-zero', Math.max(optWriteZero, unit));
  const optDiscard = read('opt-discard', unit);
  const maxDiscard = read('max-discard', Math.max(optDiscard, unit));
  return { align, maxTransfer, optWriteZero, maxWriteZero, optDiscard, maxDiscard };
}

function readPerms(options: OptionReader, name: string): PermBits {
  let bits: PermBits = perm.none;
  for (const value of listOf(options.take(name))) {
    const at = permQapiNames.indexOf(String(value));
    if (at < 0) throw new BlockError(`Parameter 'null' does not accept value '${String(value)}'`, { code: 'ERR_OPTION' });
    bits |= 1 << at;
  }
  return bits;
}

const overrideNames = ['align', 'max-transfer', 'opt-write-zero', 'max-write-zero', 'opt-discard', 'max-discard'];

async function open(host: NodeHost): Promise<DriverState> {
  const rules = new DebugRules((message) => host.emit('TSIMG_NOTE', { message }));
  const config = host.options.string('config');
  const strong: OptionTree = { ...(config === undefined ? {} : { config }) };
  Object.assign(strong, await readRules(host, rules, config));
  const others = [...overrideNames, 'take-child-perms', 'unshare-child-perms'].filter((name) => host.options.has(name));
  for (const name of overrideNames) if (host.options.has(name)) strong[name] = host.options.peek(name);
  const taken = readPerms(host.options, 'take-child-perms');
  const unshared = readPerms(host.options, 'unshare-child-perms');
  const image = await host.openChild('image', childRole.filtered | childRole.primary, { child: 'file' });
  const overrides = readOverrides(host.options, image.node.limits);
  const isNamed = others.length === 0 && strong['inject-error'] === undefined && strong['set-state'] === undefined;
  const state = new BlkdebugState(image, rules, host.clock, {
    overrides,
    taken,
    unshared,
    strongOptions: Object.keys(strong).length === 0 ? undefined : strong,
    config: isNamed ? (config ?? '') : undefined,
  });
  const started = rules.debugEvent('none');
  if (isPending(started)) await started;
  return state;
}

/** What its users ask, and what its options add. */
function childPerm(node: BlockNode, _child: Child, asked: PermRequest): PermRequest {
  if (!node.isOpen || !(node.state instanceof BlkdebugState)) return asked;
  const { taken, unshared } = node.state.extras;
  return { perm: asked.perm | taken, shared: asked.shared & ~unshared };
}

export const blkdebugDriver: BlockDriver = { name: 'blkdebug', kind: 'filter', hasProtocolName: true, open, childPerm };
