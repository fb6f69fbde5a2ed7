/*
 * Throttle groups: limits that several nodes share, by name. Checks and keeps the limits; who may go on under them is
 * throttle.ts's. It goes only when nobody uses it. Rule source: observed behaviour of QEMU 11.1.
 */

import type { Clock } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import type { Rate } from '../util/leaky-bucket.ts';
import { exact, int64, optional, parse, type Schema, struct, withFeatures } from '../util/schema.ts';
import { type AnyObjectType, defineObjectType, type UserObject } from './object.ts';
import { Throttle, type ThrottleMember, type ThrottleRates } from './throttle.ts';

/** What a limit counts, of which requests. */
const buckets = ['iops-total', 'iops-read', 'iops-write', 'bps-total', 'bps-read', 'bps-write'] as const;
type BucketName = (typeof buckets)[number];

/** The most that a limit may be, requests or bytes a second. */
const maxRate = 1_000_000_000_000_000n;
const maxLength = 4_294_967_295n;

type Limits = Readonly<Record<string, bigint | undefined>>;
/** Flat properties begin with it. */
const flatPrefix = 'x-';
type Given = { readonly limits?: Limits | undefined } & { readonly [flat: `x-${string}`]: bigint | undefined };

function limitFields(prefix: string, of: Schema<bigint>): Record<string, Schema<bigint>> {
  const names = buckets.flatMap((name) => [name, `${name}-max`, `${name}-max-length`]);
  return Object.fromEntries([...names, 'iops-size'].map((name) => [`${prefix}${name}`, optional(of)]));
}

const limitsSchema = struct('ThrottleLimits', limitFields('', exact(int64)));
const properties = struct('ThrottleGroupProperties', {
  limits: optional(limitsSchema),
  ...limitFields('x-', withFeatures(exact(int64), ['unstable'])),
}) as Schema<unknown> as Schema<Given>;

interface ThrottleBucket {
  /** A second; 0 = no limit. */
  readonly average: bigint;
  /** The most in a burst, a second; 0 = none of its own. */
  readonly burst: bigint;
  /** How long a burst may last, seconds. */
  readonly burstSeconds: bigint;
}

interface Config {
  readonly limits: ReadonlyMap<BucketName, ThrottleBucket>;
  /** Requests are counted in pieces of so many bytes; 0 = each is one. */
  readonly requestSize: bigint;
}

export class ThrottleGroup implements UserObject {
  readonly qomType = 'throttle-group';
  readonly id: string;
  readonly #throttle: Throttle;
  #config: Config;

  constructor(id: string, config: Config) {
    this.id = id;
    this.#config = config;
    this.#throttle = new Throttle(ratesOf(config));
  }

  /** A user more: the group stays until it is disposed of. */
  join(clock: Clock): ThrottleMember {
    return this.#throttle.join(clock);
  }

  /** Limits as QAPI names them. */
  get limits(): Readonly<Record<string, bigint>> {
    const { limits, requestSize } = this.#config;
    const fields = [...limits].flatMap(([name, { average, burst, burstSeconds }]): [string, bigint][] => [
      [name, average],
      [`${name}-max`, burst],
      [`${name}-max-length`, burstSeconds],
    ]);
    return Object.fromEntries([...fields, ['iops-size', requestSize]]);
  }

  property(name: string): unknown {
    if (name === 'limits') return this.limits;
    return name.startsWith(flatPrefix) ? this.limits[name.slice(flatPrefix.length)] : undefined;
  }

  /** `limits`: those given are others from now on. The flat ones are for whoever makes the group. */
  setProperty(name: string, value: unknown): void {
    if (name !== 'limits') throw invalid('Property cannot be set after initialization');
    const { limits: given } = parse(struct({ limits: limitsSchema }), { limits: value });
    checkRanges({ limits: given });
    this.#config = configOf({ ...this.limits, ...given });
    this.#throttle.configure(ratesOf(this.#config));
  }

  ending(): void {
    this.#throttle.configure(ratesOf(configOf({})));
  }

  checkRemoval(): void {
    if (this.#throttle.isUsed) throw new BlockError(`Cannot delete throttle group '${this.id}' with active references`, { code: 'EBUSY' });
  }
}

function ratesOf({ limits, requestSize }: Config): ThrottleRates {
  const rate = (name: BucketName): Rate => {
    const { average = 0n, burst = 0n, burstSeconds = 1n } = limits.get(name) ?? {};
    return { average: Number(average), burst: Number(burst), burstSeconds: Number(burstSeconds) };
  };
  return {
    bytes: { total: rate('bps-total'), read: rate('bps-read'), write: rate('bps-write') },
    requests: { total: rate('iops-total'), read: rate('iops-read'), write: rate('iops-write') },
    requestSize: Number(requestSize),
  };
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
  return { ...limits, ...Object.fromEntries(Object.entries(flat).map(([key, value]) => [key.slice(flatPrefix.length), value])) };
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
function configOf(given: Limits): Config {
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
  make: (id, given) => new ThrottleGroup(id, configOf(merge(given))),
});
