/*
 * Driver `quorum`: the same disk on several nodes. Writes go to all of them, and what enough of them say is read; those that
 * failed or were outvoted are told of, and set right where that is asked for.
 * Rule source: QEMU's documentation of quorum; observed results of votes.
 */
import { nodeStatus } from '../block/block-status.ts';
import type { Child } from '../block/child.ts';
import { DerivedLimits } from '../block/derived-limits.ts';
import {
  type BlockDriver,
  type BlockStatus,
  childRole,
  type DriverState,
  type Limits,
  type NodeHost,
  noLimits,
  type PermRequest,
  type ReqFlags,
  reqFlag,
} from '../block/driver.ts';
import type { BlockNode } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';
import { alignDown, ceilDiv } from '../util/math.ts';
import { chain, type Maybe, recover } from '../util/maybe.ts';
import { perm } from '../util/perm-bits.ts';
import { readPatterns } from './quorum-options.ts';
import { Votes } from './quorum-votes.ts';

const sector = 512;

type Kind = 'read' | 'write' | 'flush';

interface Range {
  readonly offset: number;
  readonly length: number;
}

interface Rules {
  readonly threshold: number;
  readonly isBlkverify: boolean;
  readonly rewritesCorrupted: boolean;
  readonly isFifo: boolean;
}

type Emit = NodeHost['emit'];

class QuorumState implements DriverState {
  readonly writeFlags: ReqFlags = reqFlag.fua | reqFlag.mayUnmap;
  readonly flushesChildren = true;
  readonly strongOptions: Readonly<Record<string, unknown>> | undefined;
  readonly rules: Rules;
  readonly #node: BlockNode;
  readonly #children: readonly Child[];
  readonly #emit: Emit;
  readonly #limits: DerivedLimits;

  constructor(node: BlockNode, children: readonly Child[], rules: Rules, more: { readonly emit: Emit; readonly strong: QuorumState['strongOptions'] }) {
    this.#node = node;
    this.#children = children;
    this.rules = rules;
    this.#emit = more.emit;
    this.strongOptions = more.strong;
    this.#limits = new DerivedLimits(children, limitsForAll);
  }

  get limits(): Limits {
    return this.#limits.value;
  }

  size(): number {
    return this.#children[0]?.size() ?? 0;
  }

  // -- reading --------------------------------------------------------------------------------------------------------------------
  read(offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
    return this.rules.isFifo ? this.#readFirst(offset, into, flags) : this.#readVoted(offset, into, flags);
  }

  /** One child after another, until one answers. */
  async #readFirst(offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
    let last: BlockError | undefined;
    for (const child of this.#children) {
      last = await errorOf(() => child.read(offset, into, flags));
      if (last === undefined) return;
      this.#reportBad('read', { offset, length: into.length }, child, last);
    }
    if (last !== undefined) throw last;
  }

  async #readVoted(offset: number, into: Uint8Array, flags: ReqFlags): Promise<void> {
    const range = { offset, length: into.length };
    const copies = this.#children.map(() => new Uint8Array(into.length));
    const succeeded = await this.#ask('read', range, (child, index) => child.read(offset, copies[index] ?? into, flags));
    const votes = new Votes<Uint8Array>((one, other) => Buffer.compare(one, other) === 0);
    for (const index of succeeded) votes.add(index, copies[index] ?? into);
    const { winner } = votes;
    if (winner === undefined) throw new BlockError('Input/output error', { code: 'EIO' });
    const outvoted = succeeded.filter((index) => !winner.voters.includes(index));
    if (outvoted.length > 0) {
      if (this.rules.isBlkverify) this.#endFor(range, copies);
      if (winner.voters.length < this.rules.threshold) {
        this.#reportFailure(range);
        throw new BlockError('Input/output error', { code: 'EIO' });
      }
      for (const index of outvoted) this.#reportBad('read', range, this.#children[index], undefined);
      if (this.rules.rewritesCorrupted) await this.#rewrite(offset, winner.value, outvoted);
    }
    into.set(winner.value);
  }

  /** The others have what the majority read; one that cannot be written stays as it is. */
  async #rewrite(offset: number, from: Uint8Array, outvoted: readonly number[]): Promise<void> {
    await Promise.all(outvoted.map((index) => errorOf(() => this.#children[index]?.write(offset, from, reqFlag.writeUnchanged))));
  }

  #endFor({ offset, length }: Range, [first, second]: readonly Uint8Array[]): void {
    const at = first?.findIndex((byte, index) => byte !== second?.[index]) ?? 0;
    this.#emit('TSIMG_FATAL', { message: `quorum: offset=${offset} bytes=${length} contents mismatch at offset ${offset + at}` });
  }

  /** The shortest run that all call zero; else the longest that one calls data. */
  async status(offset: number, length: number): Promise<BlockStatus> {
    let zero = length;
    let data = 0;
    for (const child of this.#children) {
      try {
        const found = await nodeStatus(child.node, offset, length, true);
        if (found.zero) zero = Math.min(zero, found.length);
        else data = Math.max(data, found.length);
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        this.#reportBad('read', { offset, length }, child, error);
        data = length;
        break;
      }
    }
    return data > 0 ? { length: data, data: true, zero: false, allocated: true } : { length: zero, data: false, zero: true, allocated: true };
  }

  // -- changing ---------------------------------------------------------------------------------------------------------------------
  async write(offset: number, from: Uint8Array, flags: ReqFlags): Promise<void> {
    await this.#ask('write', { offset, length: from.length }, (child) => child.write(offset, from, flags));
  }

  async zero(offset: number, length: number, flags: ReqFlags): Promise<boolean> {
    await this.#ask('write', { offset, length }, (child) => child.zero(offset, length, flags));
    return true;
  }

  async flush(): Promise<void> {
    await this.#ask('flush', { offset: 0, length: 0 }, (child) => child.flush());
  }

  async close(): Promise<void> {}

  /** Asks all children at once. Resolves to those that succeeded, if they are enough; else rejects with the error of most. */
  async #ask(kind: Kind, range: Range, request: (child: Child, index: number) => Maybe<void>): Promise<number[]> {
    const errors = await Promise.all(this.#children.map((child, index) => errorOf(() => request(child, index))));
    const failures = new Votes<BlockError>((one, other) => one.code === other.code);
    const succeeded: number[] = [];
    for (const [index, error] of errors.entries()) {
      if (error === undefined) {
        succeeded.push(index);
        continue;
      }
      failures.add(index, error);
      this.#reportBad(kind, range, this.#children[index], error);
    }
    const most = failures.winner?.value;
    if (succeeded.length >= this.rules.threshold || most === undefined) return succeeded;
    if (kind !== 'flush') this.#reportFailure(range);
    throw most;
  }

  // -- telling ----------------------------------------------------------------------------------------------------------------------
  #reportBad(type: Kind, range: Range, child: Child | undefined, error: BlockError | undefined): void {
    this.#emit('QUORUM_REPORT_BAD', {
      type,
      ...(error === undefined ? {} : { error: error.message }),
      'node-name': child?.node.name ?? '',
      ...sectorsOf(range),
    });
  }

  #reportFailure(range: Range): void {
    this.#emit('QUORUM_FAILURE', { reference: this.#node.deviceName ?? this.#node.name, ...sectorsOf(range) });
  }
}

/** What suits all nodes below. */
function limitsForAll(below: readonly Limits[]): Limits {
  let most = noLimits;
  for (const { requestAlign, maxTransfer, zeroAlign, discardAlign } of below) {
    most = {
      ...most,
      requestAlign: Math.max(most.requestAlign, requestAlign),
      maxTransfer: most.maxTransfer === 0 ? maxTransfer : Math.min(most.maxTransfer, maxTransfer || most.maxTransfer),
      zeroAlign: Math.max(most.zeroAlign, zeroAlign),
      discardAlign: Math.max(most.discardAlign, discardAlign),
    };
  }
  return most;
}

function sectorsOf({ offset, length }: Range): { 'sector-num': number; 'sectors-count': number } {
  const first = alignDown(offset, sector) / sector;
  return { 'sector-num': first, 'sectors-count': ceilDiv(offset + length, sector) - first };
}

/** The error of the block layer that a request ends with; undefined when it succeeds. */
function errorOf(request: () => Maybe<void>): Maybe<BlockError | undefined> {
  return recover<BlockError | undefined>(
    () => chain(request(), () => undefined),
    (error) => {
      if (error instanceof BlockError) return error;
      throw error;
    },
  );
}

// -- opening ----------------------------------------------------------------------------------------------------------------------------

function readRules({ options }: NodeHost, children: number): Rules {
  const threshold = Number(BigInt.asIntN(64, BigInt(options.integer('vote-threshold') ?? 0)));
  if (threshold < 1) throw new BlockError("Parameter 'vote-threshold' expects a value >= 1", { code: 'ERANGE' });
  if (threshold > children) throw new BlockError('threshold may not exceed children count', { code: 'ERANGE' });
  const pattern = options.string('read-pattern') ?? 'quorum';
  if (!readPatterns.some((name) => name === pattern)) throw new BlockError('Please set read-pattern as fifo or quorum', { code: 'EINVAL' });
  const isFifo = pattern === 'fifo';
  const isBlkverify = options.bool('blkverify') && !isFifo;
  if (isBlkverify && (children !== 2 || threshold !== 2)) {
    throw new BlockError('blkverify=on can only be set if there are exactly two files and vote-threshold is 2', { code: 'EINVAL' });
  }
  const rewritesCorrupted = options.bool('rewrite-corrupted') && !isFifo;
  if (rewritesCorrupted && isBlkverify) throw new BlockError('rewrite-corrupted=on cannot be used with blkverify=on', { code: 'EINVAL' });
  return { threshold, isBlkverify, rewritesCorrupted, isFifo };
}

async function open(host: NodeHost): Promise<DriverState> {
  const { options, node } = host;
  const given = options.peek('children');
  const count = Array.isArray(given) ? given.length : 0;
  if (count < 1) throw new BlockError('Number of provided children must be 1 or more', { code: 'EINVAL' });
  const strong = options.strong();
  const rules = readRules(host, count);
  const children: Child[] = [];
  for (let index = 0; index < count; index++) {
    children.push(await host.openChild(`children.${index}`, childRole.data, { child: 'format' }));
  }
  options.take('children');
  const size = children[0]?.size();
  if (children.some((child) => child.size() !== size)) throw new BlockError('Could not refresh total sector count: Input/output error', { code: 'EIO' });
  return new QuorumState(node, children, rules, { emit: (event, data) => host.emit(event, data), strong });
}

/** Whoever wrote one child would make it another disk than the rest. */
function childPerm(node: BlockNode, _child: Child, asked: PermRequest): PermRequest {
  const rewrites = node.isOpen && node.state instanceof QuorumState && node.state.rules.rewritesCorrupted;
  return { perm: asked.perm | (rewrites ? perm.write : perm.none), shared: asked.shared & (perm.consistentRead | perm.writeUnchanged) };
}

export const quorumDriver: BlockDriver = { name: 'quorum', kind: 'format', hasNoFolder: true, open, childPerm };
