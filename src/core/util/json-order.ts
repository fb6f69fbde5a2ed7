/*
 * The order in which QEMU prints the members of a JSON object: its dictionaries are hash tables of 512 buckets,
 * printed bucket by bucket; inside a bucket the member inserted last comes first.
 * Knows nothing of values. Rule source: observed output of QEMU 11.1 (every reply of its monitor follows it).
 */

const bucketCount = 512;
const maxCachedShapes = 4096;
const separator = '\u0000';

const bucketOfKey = new Map<string, number>();
const orderOfShape = new Map<string, readonly string[]>();

/** The bucket (0–511) of a member name. */
export function jsonBucket(key: string): number {
  const known = bucketOfKey.get(key);
  if (known !== undefined) return known;
  const bytes = Buffer.from(key, 'utf8');
  let v = Math.imul(0x238f13af, bytes.length) >>> 0;
  for (let i = 0; i < bytes.length; i++) v = (v + ((bytes[i] ?? 0) << ((i * 5) % 24))) >>> 0;
  // unsigned arithmetic modulo 2^32 throughout: the low nine bits select the bucket
  const bucket = ((Math.imul(1103515243, v) + 12345) >>> 0) % bucketCount;
  if (bucketOfKey.size >= maxCachedShapes) bucketOfKey.clear();
  bucketOfKey.set(key, bucket);
  return bucket;
}

/** The names of an object in printing order; `keys` is the order of insertion. The answer is cached per set of names and shared: do not change it. */
export function jsonKeyOrder(keys: readonly string[]): readonly string[] {
  if (keys.length < 2) return keys;
  // lists hold many objects of one shape
  if (isSame(keys, lastKeys)) return lastOrder;
  const order = orderOf(keys);
  lastKeys = keys;
  lastOrder = order;
  return order;
}

let lastKeys: readonly string[] = [];
let lastOrder: readonly string[] = [];

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

function orderOf(keys: readonly string[]): readonly string[] {
  const shape = keys.join(separator);
  const known = orderOfShape.get(shape);
  if (known !== undefined) return known;
  const ordered = keys
    .map((key, index) => ({ key, index, bucket: jsonBucket(key) }))
    .sort((a, b) => a.bucket - b.bucket || b.index - a.index)
    .map((entry) => entry.key);
  // names come from clients too (`id` is echoed): the cache must not grow with them
  if (orderOfShape.size >= maxCachedShapes) orderOfShape.clear();
  if (shape.length <= 4096) orderOfShape.set(shape, ordered);
  return ordered;
}
