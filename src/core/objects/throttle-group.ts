/*
 * Throttle groups: limits that several nodes share, by name. Checks and keeps the limits, and knows who uses the group: it
 * goes only when nobody does. Rule source: observed behaviour of QEMU 11.1.
 */
import { BlockError } from '../util/errors.ts';
import { exact, int64, optional, type Schema, struct, withFeatures } from '../util/schema.ts';
import { type AnyObjectType, defineObjectType, type UserObject } from './object.ts';

/** What a limit counts, of which requests. */
const buckets = ['iops-total', 'iops-read', 'iops-write', 'bps-total', 'bps-read', 'bps-write'] as const;
type BucketName = (typeof buckets)[number];

/** The most that a limit may be, requests or bytes a second. */
const maxRate = 1_000_000_000_000_000n;
const maxLength = 4_294_967_295n;

type Limits = Readonly<Record<string, bigint | undefined>>;
/** Flat properties begin with `x-`. */
type Given = { readonly limits?: Limits | undefined } & { readonly [flat: `x-${string}`]: bigint | undefined };

function limitFields(prefix: string, of: Schema<bigint>): Record<string, Schema<bigint>> {
  const names = buckets.flatMap((name) => [name, `${name}-max`, `${name}-max-length`]);
  return Object.fromEntries([...names, 'iops-size'].map((name) => [`${prefix}${name}`, optional(of)]));
}

const properties = struct('ThrottleGroupProperties', {
  limits: optional(struct('ThrottleLimits', limitFields('', exact(int64)))),
  ...limitFields('x-', withFeatures(exact(int64), ['unstable'])),
}) as Schema<unknown> as Schema<Given>;

export interface ThrottleBucket {
  /** A second; 0 = no limit. */
  readonly average: bigint;
  /** The most in a burst, a second; 0 = none of its own. */
  readonly burst: bigint;
  /** How long a burst may last, seconds. */
  readonly burstSeconds: bigint;
}

export class ThrottleGroup implements UserObject {
  readonly qomType = 'throttle-group';
  readonly id: string;
  readonly limits: ReadonlyMap<BucketName, ThrottleBucket>;
  /** Requests are counted in pieces of so many bytes; 0 = each is one. */
  readonly requestSize: bigint;
  readonly #users = new Set<Disposable>();

  constructor(id: string, limits: ReadonlyMap<BucketName, ThrottleBucket>, requestSize: bigint) {
    this.id = id;
    this.limits = limits;
    this.requestSize = requestSize;
  }

  /** The group stays until this is disposed of. */
  use(): Disposable {
    const user: Disposable = { [Symbol.dispose]: () => void this.#users.delete(user) };
    this.#users.add(user);
    return user;
  }

  checkRemoval(): void {
    if (this.#users.size > 0) throw new BlockError(`Cannot delete throttle group '${this.id}' with active references`, { code: 'EBUSY' });
  }
}

const invalid = (message: string): BlockError => new BlockError(message, { code: 'EINVAL' });

/** The two forms have a rule each for what is no limit at all. */
function checkRanges({ limits = {}, ...flat }: Given): void {
  for (const [key, value = 0n] of Object.entries(limits)) {
    if (key.endsWith('-max-length') && value > maxLength) throw invalid(`${key} value must be in the range [0, ${maxLength}]`);
  }
  for (const [key, value = 0n] of Object.entries(flat)) {
    if (value < 0n) throw invalid('Property values cannot be negative');
    if (key.endsWith('-max-length') && value > maxLength) throw invalid(`${key} value must be in therange [0, ${maxLength}]`);
  }
}

/** What is given flat is set after `limits`. */
function merge({ limits = {}, ...flat }: Given): Limits {
  return { ...limits, ...Object.fromEntries(Object.entries(flat).map(([key, value]) => [key.slice('x-'.length), value])) };
}

function bucketOf(given: Limits, name: BucketName): ThrottleBucket {
  return { average: given[name] ?? 0n, burst: given[`${name}-max`] ?? 0n, burstSeconds: given[`${name}-max-length`] ?? 1n };
}

function checkBucket({ average, burst, burstSeconds }: ThrottleBucket): void {
  if (average < 0n || burst < 0n || average > maxRate || burst > maxRate) throw invalid(`bps/iops/max values must be within [0, ${maxRate}]`);
  if (burstSeconds === 0n) throw invalid('the burst length cannot be 0');
  // a length that is no number of seconds is longer than any
  const isEndless = burstSeconds < 0n;
  if ((burstSeconds > 1n || isEndless) && burst === 0n) throw invalid('burst length set without burst rate');
  if (isEndless || (burst > 0n && burst * burstSeconds > maxRate)) throw invalid('burst length too high for this burst rate');
  if (burst > 0n && average === 0n) throw invalid('bps_max/iops_max require corresponding bps/iops values');
  if (burst > 0n && burst < average) throw invalid('bps_max/iops_max cannot be lower than bps/iops');
}

function checkTotals(limits: ReadonlyMap<BucketName, ThrottleBucket>): void {
  const isSet = (name: BucketName, key: 'average' | 'burst'): boolean => (limits.get(name)?.[key] ?? 0n) !== 0n;
  for (const key of ['average', 'burst'] as const) {
    for (const unit of ['bps', 'iops'] as const) {
      if (isSet(`${unit}-total`, key) && (isSet(`${unit}-read`, key) || isSet(`${unit}-write`, key))) {
        throw invalid('bps/iops/max total values and read/write values cannot be used at the same time');
      }
    }
  }
}

/** Throws for limits that contradict each other. */
function configOf(given: Limits): { limits: ReadonlyMap<BucketName, ThrottleBucket>; requestSize: bigint } {
  const limits = new Map(buckets.map((name) => [name, bucketOf(given, name)]));
  const requestSize = given['iops-size'] ?? 0n;
  const countsRequests = (['iops-total', 'iops-read', 'iops-write'] as const).some((name) => limits.get(name)?.average !== 0n);
  if (requestSize !== 0n && !countsRequests) throw invalid('iops size requires an iops value to be set');
  checkTotals(limits);
  for (const bucket of limits.values()) checkBucket(bucket);
  return { limits, requestSize };
}

export const throttleGroupType: AnyObjectType = defineObjectType({
  name: 'throttle-group',
  properties,
  check: (given) => {
    checkRanges(given);
    // `limits` are judged as they are set, what is flat when all is there
    if (given.limits !== undefined) configOf(given.limits);
  },
  make: (id, given) => {
    const { limits, requestSize } = configOf(merge(given));
    return new ThrottleGroup(id, limits, requestSize);
  },
});
