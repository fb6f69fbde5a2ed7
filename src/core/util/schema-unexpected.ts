/*
 * Which of several unknown members QEMU names: it keeps the members of an object in a hash table (GLib's), takes out those
 * that it knows, and complains about the first that is left. This file models that table.
 * Knows nothing of schemas. Rule source: GLib's documented hashing of strings (h = h * 33 + c) and observed answers of QEMU 11.1.
 */

const minShift = 3;
const primes = [1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071];

const removed = Symbol('removed');
type Slot = string | typeof removed | undefined;

function stringHash(key: string): number {
  let hash = 5381;
  for (const byte of Buffer.from(key, 'utf8')) {
    const signed = byte < 128 ? byte : byte - 256;
    hash = (Math.imul(hash, 33) + signed) >>> 0;
  }
  return hash;
}

class MemberTable {
  #shift = minShift;
  #slots: Slot[] = new Array<Slot>(1 << minShift).fill(undefined);
  #live = 0;
  #used = 0;

  add(key: string): void {
    let at = this.#home(key);
    for (let step = 1; this.#slots[at] !== undefined && this.#slots[at] !== removed; step++) {
      at = (at + step) % this.#slots.length;
    }
    if (this.#slots[at] === undefined) this.#used++;
    this.#slots[at] = key;
    this.#live++;
    this.#fit();
  }

  remove(key: string): void {
    const at = this.#slots.indexOf(key);
    if (at < 0) return;
    this.#slots[at] = removed;
    this.#live--;
    this.#fit();
  }

  first(): string | undefined {
    return this.#slots.find((slot): slot is string => typeof slot === 'string');
  }

  #home(key: string): number {
    return (Math.imul(stringHash(key), 11) >>> 0) % (primes[this.#shift] ?? 131071);
  }

  #fit(): void {
    const size = this.#slots.length;
    const isSparse = size > this.#live * 4 && size > 1 << minShift;
    if (!isSparse && size > this.#used + Math.floor(this.#used / 16)) return;
    let shift = 0;
    for (let n = Math.floor(this.#live * 1.333); n > 0; n = Math.floor(n / 2)) shift++;
    this.#rehash(Math.max(shift, minShift));
  }

  /** Moves every entry to its place in a table of the new size; an entry that stands in the way is moved next. */
  #rehash(shift: number): void {
    const old = this.#slots.map((slot) => (slot === removed ? undefined : slot));
    this.#shift = shift;
    const size = 1 << shift;
    const slots: Slot[] = Array.from({ length: Math.max(size, old.length) }, (_, i) => old[i]);
    const placed = new Set<number>();
    for (let i = 0; i < old.length; i++) {
      let moving = slots[i];
      if (typeof moving !== 'string' || placed.has(i)) continue;
      slots[i] = undefined;
      while (typeof moving === 'string') {
        let at = this.#home(moving);
        for (let step = 1; placed.has(at); step++) at = (at + step) % size;
        placed.add(at);
        const evicted: Slot = slots[at];
        slots[at] = moving;
        moving = evicted;
      }
    }
    this.#slots = slots.slice(0, size);
    this.#used = this.#live;
  }
}

/** The member that QEMU complains about: `members` in the order of its dictionaries, `known` in the order in which they are looked up. */
export function firstUnexpected(members: readonly string[], known: readonly string[]): string | undefined {
  const taken = new Set(known);
  const left = members.filter((name) => !taken.has(name));
  if (left.length < 2) return left[0];
  // too many members to be worth the exact answer
  if (members.length > 65536) return left[0];
  const table = new MemberTable();
  for (const name of members) table.add(name);
  for (const name of known) table.remove(name);
  return table.first();
}
