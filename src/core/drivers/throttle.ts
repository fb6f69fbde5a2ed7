/*
 * Filter driver `throttle`: requests go on as fast as the limits of a throttle group allow, which several nodes may share. In
 * a drained section nobody waits: what is in flight goes on at once.
 * Rule source: QEMU's documentation of the throttle filter.
 */
import type { Child } from '../block/child.ts';
import { type BlockDriver, childRole, type DriverState, type DriverStep, type Limits, type NodeHost, nothingToReopen, type ReqFlags } from '../block/driver.ts';
import type { NodeSettings } from '../block/node.ts';
import type { OptionTree } from '../block/options.ts';
import type { Direction, ThrottleMember } from '../objects/throttle.ts';
import { ThrottleGroup } from '../objects/throttle-group.ts';
import { BlockError } from '../util/errors.ts';
import { chain, isPending, type Maybe } from '../util/maybe.ts';

class ThrottleState implements DriverState {
  readonly writeFlags: ReqFlags = 0xff;
  readonly #file: Child;
  readonly #host: NodeHost;
  #group: ThrottleGroup;
  #member: ThrottleMember;

  constructor(file: Child, host: NodeHost, group: ThrottleGroup) {
    this.#file = file;
    this.#host = host;
    this.#group = group;
    this.#member = group.join(host.clock);
  }

  get limits(): Limits {
    return this.#file.node.limits;
  }

  get strongOptions(): Readonly<Record<string, unknown>> {
    return { 'throttle-group': this.#group.id };
  }

  size(): number {
    return this.#file.size();
  }

  read(offset: number, into: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#inTurn('read', into.length, () => this.#file.read(offset, into, flags));
  }

  write(offset: number, from: Uint8Array, flags: ReqFlags): Maybe<void> {
    return this.#inTurn('write', from.length, () => this.#file.write(offset, from, flags));
  }

  zero(offset: number, length: number, flags: ReqFlags): Maybe<boolean> {
    return chain(
      this.#inTurn('write', length, () => this.#file.zero(offset, length, flags)),
      () => true,
    );
  }

  discard(offset: number, length: number): Maybe<void> {
    return this.#inTurn('write', length, () => this.#file.discard(offset, length));
  }

  #inTurn(direction: Direction, bytes: number, request: () => Maybe<void>): Maybe<void> {
    const turn = this.#member.pass(direction, bytes);
    return isPending(turn) ? turn.then(request) : request();
  }

  quiesce(): void {
    this.#member.unlimit();
  }

  resume(): void {
    this.#member.limit();
  }

  /** On drained nodes: nobody waits in the group that is left. */
  async reopen(_next: NodeSettings, options: OptionTree): Promise<DriverStep> {
    const name = options['throttle-group'];
    const group = findGroup(this.#host, typeof name === 'string' ? name : undefined);
    if (group === this.#group) return nothingToReopen;
    const member = group.join(this.#host.clock);
    return {
      commit: () => {
        this.#member[Symbol.dispose]();
        this.#group = group;
        this.#member = member;
        if (this.#host.node.quiesceCount > 0) member.unlimit();
      },
      abort: () => member[Symbol.dispose](),
    };
  }

  async close(): Promise<void> {
    this.#member[Symbol.dispose]();
  }
}

function findGroup(host: NodeHost, name: string | undefined): ThrottleGroup {
  if (name === undefined) throw new BlockError('Please specify a throttle group', { code: 'ERR_OPTION' });
  const group = host.objects.find(ThrottleGroup, name);
  if (group === undefined) throw new BlockError(`Throttle group '${name}' does not exist`, { code: 'ENOENT' });
  return group;
}

async function open(host: NodeHost): Promise<DriverState> {
  const file = await host.openChild('file', childRole.filtered | childRole.primary, { child: 'format' });
  return new ThrottleState(file, host, findGroup(host, host.options.string('throttle-group')));
}

export const throttleDriver: BlockDriver = { name: 'throttle', kind: 'filter', passesCompressed: true, open };
