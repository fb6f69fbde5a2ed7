/*
 * What `blkdebug` does at which event: rules from options and from a configuration file, the state that they look at, the
 * errors that wait for requests, and requests that stand at breakpoints.
 * Rule source: QEMU's documentation of blkdebug; observed order of rules.
 */
import { type DebugEvent, type DebugIoType, debugEvents, debugIoTypes } from '../block/debug-events.ts';
import type { DebugPoints } from '../block/debug-points.ts';
import { OptionReader, type OptionTree } from '../block/options.ts';
import { errnoName, errnoNumber, errnoText, isErrnoName } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import type { Maybe } from '../util/maybe.ts';
import { Waiters } from '../util/waiters.ts';

/** An error that requests get while its rule is in force. */
export interface Injection {
  /** Byte offset that the request must touch; undefined: any. */
  readonly offset: number | undefined;
  readonly types: readonly DebugIoType[];
  /** Undefined: the rule only keeps others from being in force. */
  readonly error: BlockError | undefined;
  readonly once: boolean;
  /** It fails before anybody else has a turn. */
  readonly immediately: boolean;
  /** Nanoseconds that the request waits first. */
  readonly delay: number;
}

type Action =
  | { readonly kind: 'inject'; readonly injection: Injection }
  | { readonly kind: 'state'; readonly next: number }
  | { readonly kind: 'suspend'; readonly tag: string };

interface Rule {
  readonly event: DebugEvent;
  /** In force in this state only; 0: in any. */
  readonly state: number;
  readonly action: Action;
}

interface Suspended {
  readonly tag: string;
  readonly resume: () => void;
}

const usualTypes: readonly DebugIoType[] = ['read', 'write', 'write-zeroes', 'discard', 'flush'];
const sector = 512;

export class DebugRules implements DebugPoints {
  /** The newest first. */
  #rules: Rule[] = [];
  #state = 1;
  #active: Injection[] = [];
  readonly #suspended: Suspended[] = [];
  /** Those who wait for a request to stop. */
  readonly #stops = new Waiters();
  readonly #say: (line: string) => void;

  /** `say` tells people of requests that stop and go on. */
  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  add(rule: Rule): void {
    this.#rules.unshift(rule);
  }

  /** The injection that the request meets, which is gone by now if it is for one request. `length` 0: it has no range. */
  injectionFor(type: DebugIoType, offset: number, length: number): Injection | undefined {
    if (this.#active.length === 0) return undefined;
    const found = this.#active.find((rule) => {
      const meets = rule.offset === undefined || (length > 0 && rule.offset >= offset && rule.offset < offset + length);
      return meets && rule.types.includes(type);
    });
    if (found?.error === undefined) return undefined;
    if (found.once) {
      this.#active = this.#active.filter((rule) => rule !== found);
      this.#rules = this.#rules.filter(({ action }) => action.kind !== 'inject' || action.injection !== found);
    }
    return found;
  }

  // -- DebugPoints --------------------------------------------------------------------------------------------------------------
  debugEvent(event: DebugEvent): Maybe<void> {
    if (this.#rules.length === 0) return;
    let next = this.#state;
    const injections: Injection[] = [];
    const stops: Promise<void>[] = [];
    for (const rule of this.#rules.filter((one) => one.event === event && (one.state === 0 || one.state === this.#state))) {
      const { action } = rule;
      if (action.kind === 'inject') injections.unshift(action.injection);
      else if (action.kind === 'state') next = action.next;
      else stops.push(this.#suspend(rule, action.tag));
    }
    // what waited for requests before gives way to what this event brings
    if (injections.length > 0) this.#active = injections;
    this.#state = next;
    if (stops.length > 0) return Promise.all(stops).then(() => {});
  }

  #suspend(rule: Rule, tag: string): Promise<void> {
    this.#rules = this.#rules.filter((other) => other !== rule);
    this.#say(`blkdebug: Suspended request '${tag}'`);
    const stopped = new Promise<void>((resume) => this.#suspended.unshift({ tag, resume }));
    this.#stops.wakeAll();
    return stopped;
  }

  debugBreakpoint(event: string, tag: string): void {
    const known = debugEvents.find((name) => name === event);
    if (known === undefined) throw notThere();
    this.add({ event: known, state: 0, action: { kind: 'suspend', tag } });
  }

  debugRemoveBreakpoint(tag: string): void {
    const left = this.#rules.filter(({ action }) => action.kind !== 'suspend' || action.tag !== tag);
    const hadRules = left.length < this.#rules.length;
    this.#rules = left;
    let hadRequests = false;
    while (this.#resumeOne(tag)) hadRequests = true;
    if (!hadRules && !hadRequests) throw notThere();
  }

  debugResume(tag: string): void {
    if (!this.#resumeOne(tag)) throw notThere();
  }

  #resumeOne(tag: string): boolean {
    const at = this.#suspended.findIndex((request) => request.tag === tag);
    const [request] = at < 0 ? [] : this.#suspended.splice(at, 1);
    if (request === undefined) return false;
    this.#say(`blkdebug: Resuming request '${tag}'`);
    request.resume();
    return true;
  }

  async debugSuspended(tag: string): Promise<void> {
    while (!this.#suspended.some((request) => request.tag === tag)) await this.#stops.wait();
  }
}

function notThere(): BlockError {
  return new BlockError('No such file or directory', { code: 'ENOENT' });
}

// -- reading rules --------------------------------------------------------------------------------------------------------------

export type RuleSection = 'inject-error' | 'set-state';
export const ruleSections: readonly RuleSection[] = ['inject-error', 'set-state'];

/** The rule that one group of options describes. Throws QEMU's words; `unknown` is what it says of an option that nobody knows. */
export function readRule(section: RuleSection, options: OptionTree, unknown: (name: string) => string): Rule {
  const reader = new OptionReader(options);
  const allowed =
    section === 'inject-error' ? ['event', 'state', 'iotype', 'errno', 'delay-ns', 'sector', 'once', 'immediately'] : ['event', 'state', 'new_state'];
  for (const name of reader.remaining()) if (!allowed.includes(name)) throw new BlockError(unknown(name), { code: 'EINVAL' });
  if (!reader.has('event')) throw new BlockError('Missing event name for rule', { code: 'EINVAL' });
  const event = reader.enum('event', debugEvents);
  const state = reader.number('state') ?? 0;
  if (section === 'set-state') return { event, state, action: { kind: 'state', next: reader.number('new_state') ?? 0 } };
  const types = reader.has('iotype') ? [reader.enum('iotype', debugIoTypes)] : usualTypes;
  const error = errorOf(reader.number('errno') ?? errnoNumber('EIO') ?? 5);
  const at = reader.has('sector') ? Number(BigInt.asIntN(64, BigInt(reader.integer('sector') ?? -1))) : -1;
  const injection: Injection = {
    offset: at < 0 ? undefined : at * sector,
    types,
    error,
    once: reader.bool('once'),
    immediately: reader.bool('immediately'),
    delay: reader.number('delay-ns') ?? 0,
  };
  return { event, state, action: { kind: 'inject', injection } };
}

/** The error of a number of errno; none for 0. */
function errorOf(number: number): BlockError | undefined {
  if (number === 0) return undefined;
  const name = errnoName(number);
  return new BlockError(errnoText(number), { code: name !== undefined && isErrnoName(name) ? name : 'EIO' });
}

/** Groups of a configuration file: `[section]` and lines `name = "value"`. Throws QEMU's words. */
export function parseRuleFile(text: string): { readonly section: RuleSection; readonly options: OptionTree }[] {
  const groups: { section: RuleSection; options: OptionTree }[] = [];
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue;
    const head = /^\[([^\s\]]+)\s*\]/.exec(line)?.[1];
    if (head !== undefined) {
      const section = ruleSections.find((name) => name === head);
      if (section === undefined) throw new BlockError(`There is no option group '${head}'`, { code: 'EINVAL' });
      groups.push({ section, options: {} });
      continue;
    }
    const match = /^\s*(\S+) = ?(?:"([^"]*)")?/.exec(line);
    const group = groups.at(-1);
    if (match === null) throw new BlockError('parse error', { code: 'EINVAL' });
    if (group === undefined) throw new BlockError('no group defined', { code: 'EINVAL' });
    group.options[match[1] ?? ''] = match[2] ?? '';
  }
  return groups;
}
