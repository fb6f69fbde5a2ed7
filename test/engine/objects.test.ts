/* Objects by name: each type's rules in the peer's order and words, and what finds and keeps them. */
import { createCipheriv } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { IoThread } from '../../src/core/objects/iothread.ts';
import { Secret, secretBytes } from '../../src/core/objects/secret.ts';
import { ThrottleGroup } from '../../src/core/objects/throttle-group.ts';
import { parse } from '../../src/core/util/schema.ts';
import { objectDefinition } from '../../src/engine/object-types.ts';
import { ObjectStore } from '../../src/engine/objects.ts';
import { addObject } from '../../src/engine/ops/objects.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { tempFolder } from '../support/tmp.ts';

type Definition = Record<string, string | number | Record<string, number>>;

function add(objects: ObjectStore, definition: Definition): void {
  addObject(objects, parse(objectDefinition, definition));
}

function errorOf(body: () => void): string {
  try {
    body();
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const refused = (definition: Definition): string => errorOf(() => add(new ObjectStore(), definition));

describe('the store', () => {
  it('finds an object by class and id, and has it by type and id', () => {
    const objects = new ObjectStore();
    add(objects, { 'qom-type': 'secret', id: 's', data: 'pass' });
    expect(objects.find(Secret, 's')?.bytes).toEqual(Buffer.from('pass'));
    expect(objects.find(IoThread, 's')).toBeUndefined();
    expect(objects.find(Secret, 't')).toBeUndefined();
    expect([objects.has('secret', 's'), objects.has('iothread', 's'), objects.has('secret', 't')]).toEqual([true, false, false]);
  });

  it('all types share one space of names; a single value out of range comes before a taken name, the rest after', () => {
    const objects = new ObjectStore();
    add(objects, { 'qom-type': 'secret', id: 's', data: 'x' });
    const taken = "attempt to add duplicate property 's' to object (type 'container')";
    expect(errorOf(() => add(objects, { 'qom-type': 'iothread', id: 's' }))).toBe(taken);
    expect(errorOf(() => add(objects, { 'qom-type': 'secret', id: 's' }))).toBe(taken);
    expect(errorOf(() => add(objects, { 'qom-type': 'iothread', id: 's', 'poll-grow': -1 }))).toBe('poll-grow value must be in range [0, 9223372036854775807]');
    expect(errorOf(() => add(objects, { 'qom-type': 'throttle-group', id: 's', limits: { 'iops-size': 5 } }))).toBe(
      'iops size requires an iops value to be set',
    );
    expect(errorOf(() => add(objects, { 'qom-type': 'throttle-group', id: 's', 'x-iops-size': 5 }))).toBe(taken);
    expect(errorOf(() => add(objects, { 'qom-type': 'secret', id: '1' }))).toBe("Parameter 'id' expects an identifier");
    expect(objects.find(Secret, 's')?.bytes.length).toBe(1);
  });

  it('a removed object is gone, and its name is free', () => {
    const objects = new ObjectStore();
    add(objects, { 'qom-type': 'iothread', id: 't' });
    objects.remove('t');
    expect(objects.has('iothread', 't')).toBe(false);
    expect(errorOf(() => objects.remove('t'))).toBe("object 't' not found");
    add(objects, { 'qom-type': 'secret', id: 't', data: 'x' });
  });

  it('its end closes every object, newest first, in use or not', () => {
    const objects = new ObjectStore();
    const closed: string[] = [];
    for (const id of ['a', 'b']) {
      objects.add({
        id,
        qomType: 'test',
        close: () => void closed.push(id),
        checkRemoval: () => {
          throw new Error('in use');
        },
      });
    }
    expect(errorOf(() => objects.remove('a'))).toBe('in use');
    expect(objects.has('test', 'a')).toBe(true);
    objects.close();
    expect(closed).toEqual(['b', 'a']);
    expect(objects.has('test', 'a')).toBe(false);
  });
});

describe('secret', () => {
  const secret = (given: Definition): Definition => ({ 'qom-type': 'secret', id: 's', ...given });

  it('is text, base64, or the bytes of a file', () => {
    using folder = tempFolder('secret');
    writeFileSync(folder.file('key'), 'from file');
    const objects = new ObjectStore();
    add(objects, secret({ data: 'é' }));
    add(objects, secret({ id: 'b', data: 'AAEC\n', format: 'base64' }));
    add(objects, secret({ id: 'f', file: folder.file('key') }));
    expect([...secretBytes(objects, 's')]).toEqual([0xc3, 0xa9]);
    expect([...secretBytes(objects, 'b')]).toEqual([0, 1, 2]);
    expect(Buffer.from(secretBytes(objects, 'f')).toString()).toBe('from file');
    expect(errorOf(() => secretBytes(objects, 'x'))).toBe("No secret with id 'x'");
  });

  it.each([
    [{}, "Either 'file' or 'data' must be provided"],
    [{ data: 'x', file: 'y' }, "'file' and 'data' are mutually exclusive"],
    [{ data: '@@', format: 'base64' }, 'Base64 data contains invalid characters'],
    [{ data: 'x', keyid: 'k' }, "No secret with id 'k'"],
  ])('%j is refused', (given, message) => {
    expect(refused(secret(given))).toBe(message);
  });

  it('a key for other secrets has 32 bytes', () => {
    const objects = new ObjectStore();
    add(objects, secret({ id: 'short', data: 'x' }));
    add(objects, secret({ id: 'key', data: 'x'.repeat(32) }));
    expect(errorOf(() => add(objects, secret({ data: 'x', keyid: 'short' })))).toBe('Key should be 32 bytes in length');
    const sealed = (data: string, more: Definition = {}): Definition => secret({ id: 'sealed', data, keyid: 'key', iv: iv.toString('base64'), ...more });
    const iv = Buffer.alloc(16, 7);
    const cipher = createCipheriv('aes-256-cbc', 'x'.repeat(32), iv);
    const data = Buffer.concat([cipher.update('open sesame'), cipher.final()]).toString('base64');
    const broken = Buffer.alloc(16, 1).toString('base64');
    expect(errorOf(() => add(objects, secret({ data: 'x', keyid: 'key' })))).toBe('IV is required to decrypt secret');
    expect(errorOf(() => add(objects, sealed(data, { format: 'base64', iv: 'AAAA' })))).toBe('IV should be 16 bytes in length not 3');
    expect(errorOf(() => add(objects, sealed('AAAA', { format: 'base64' })))).toBe('Length 3 must be a multiple of block size 16');
    expect(errorOf(() => add(objects, sealed(broken, { format: 'base64' })))).toMatch(/^Incorrect number of padding bytes \(\d+\) found on decrypted data$/);
    add(objects, sealed(data, { format: 'base64' }));
    expect(Buffer.from(secretBytes(objects, 'sealed')).toString()).toBe('open sesame');
    // nothing is nothing
    add(objects, { ...sealed(''), id: 'empty' });
    expect(secretBytes(objects, 'empty').length).toBe(0);
  });
});

describe('iothread', () => {
  it.each([
    [{ 'thread-pool-max': 0 }, 'bad thread-pool-min/thread-pool-max values'],
    [{ 'thread-pool-min': 65 }, 'bad thread-pool-min/thread-pool-max values'],
    [{ 'thread-pool-min': 2, 'thread-pool-max': 1 }, 'bad thread-pool-min/thread-pool-max values'],
    [{ 'aio-max-batch': -1, 'poll-grow': -1 }, 'aio-max-batch value must be in range [0, 9223372036854775807]'],
    [{ 'thread-pool-min': 64, 'poll-max-ns': 0 }, ''],
    [{ 'thread-pool-min': 1, 'thread-pool-max': 1 }, ''],
  ])('%j', (given, message) => {
    expect(refused({ 'qom-type': 'iothread', id: 't', ...given })).toBe(message);
  });
});

describe('throttle-group', () => {
  const range = 'bps/iops/max values must be within [0, 1000000000000000]';
  const totals = 'bps/iops/max total values and read/write values cannot be used at the same time';

  it.each([
    [{ 'bps-total': 1, 'bps-read': 1 }, totals],
    [{ 'iops-total': 1, 'iops-write': 2 }, totals],
    [{ 'bps-total': 5, 'bps-read': -1 }, totals],
    [{ 'bps-total': 1, 'iops-read': 1 }, ''],
    [{ 'bps-total': 1_000_000_000_000_001 }, range],
    [{ 'bps-total': 1_000_000_000_000_000 }, ''],
    [{ 'bps-total-max': -1, 'iops-total': -1 }, range],
    [{ 'iops-total': -1 }, range],
    [{ 'bps-total': 5, 'bps-total-max': 3 }, 'bps_max/iops_max cannot be lower than bps/iops'],
    [{ 'bps-total': 5, 'bps-total-max': 5 }, ''],
    [{ 'bps-total-max': 1 }, 'bps_max/iops_max require corresponding bps/iops values'],
    [{ 'bps-total': 5, 'bps-total-max': 3, 'bps-total-max-length': 0 }, 'the burst length cannot be 0'],
    [{ 'bps-total': 5, 'bps-total-max-length': 3 }, 'burst length set without burst rate'],
    [{ 'bps-total': 5, 'bps-total-max-length': 1 }, ''],
    [{ 'bps-total': 5, 'bps-total-max': 30, 'bps-total-max-length': -1 }, 'burst length too high for this burst rate'],
    [{ 'bps-total': 5, 'bps-total-max': 1_000_000_000_000, 'bps-total-max-length': 1001 }, 'burst length too high for this burst rate'],
    [{ 'bps-total': 5, 'bps-total-max': 1_000_000_000_000, 'bps-total-max-length': 1000 }, ''],
    [{ 'bps-total': 5, 'bps-total-max-length': 4_294_967_296 }, 'bps-total-max-length value must be in the range [0, 4294967295]'],
    [{ 'iops-size': 5 }, 'iops size requires an iops value to be set'],
    [{ 'iops-size': 5, 'iops-write': 3 }, ''],
  ])('limits %j', (limits, message) => {
    expect(refused({ 'qom-type': 'throttle-group', id: 'g', limits })).toBe(message);
  });

  it.each([
    [{ 'x-bps-total': -5 }, 'Property values cannot be negative'],
    [{ 'x-bps-total-max-length': 4_294_967_296 }, 'x-bps-total-max-length value must be in therange [0, 4294967295]'],
    [{ 'x-bps-total': 5, 'x-bps-total-max': 3 }, 'bps_max/iops_max cannot be lower than bps/iops'],
    [{ limits: { 'bps-total': 5 }, 'x-bps-read': 3 }, totals],
  ])('%j', (given, message) => {
    expect(refused({ 'qom-type': 'throttle-group', id: 'g', ...given })).toBe(message);
  });

  it('keeps its limits, and stays while somebody uses it', () => {
    const objects = new ObjectStore();
    add(objects, { 'qom-type': 'throttle-group', id: 'g', limits: { 'iops-read': 10, 'iops-size': 4096 }, 'x-bps-write': 7 });
    const group = objects.find(ThrottleGroup, 'g');
    expect(group?.limits).toMatchObject({ 'iops-read': 10n, 'iops-read-max': 0n, 'iops-read-max-length': 1n, 'bps-write': 7n, 'iops-size': 4096n });
    const clock = new ManualClock();
    const uses = [group?.join(clock), group?.join(clock)];
    for (const use of uses) {
      expect(errorOf(() => objects.remove('g'))).toBe("Cannot delete throttle group 'g' with active references");
      use?.[Symbol.dispose]();
    }
    objects.remove('g');
  });
});
