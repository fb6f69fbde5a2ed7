/* Key slots: rules and words of changes, and that no cut and no failing write loses the key of a volume. */
import { describe, expect, it } from 'vitest';
import { changeSlots, type SlotChange, type SlotChangeContext } from '../../src/crypto/key-slots.ts';
import { LuksVolume } from '../../src/crypto/luks-volume.ts';
import { activate, context, cuts, inactivate, MemoryVolume, newVolume, text } from './volume.ts';

async function open(bytes: Uint8Array): Promise<{ volume: LuksVolume; medium: MemoryVolume }> {
  const medium = new MemoryVolume(bytes);
  return { volume: await LuksVolume.open(medium, false), medium };
}

/** Slots that are active, and whether each passphrase opens the volume with the key that it always had. */
async function opens(bytes: Uint8Array, ...passwords: string[]): Promise<boolean[]> {
  const { volume } = await open(Uint8Array.from(bytes));
  return Promise.all(
    passwords.map((password) =>
      volume.unlock(text(password)).then(
        () => true,
        (error: Error) => {
          expect(error.message).toBe('Invalid password, cannot unlock any keyslot');
          return false;
        },
      ),
    ),
  );
}

async function changed(bytes: Uint8Array, change: SlotChange, how: SlotChangeContext): Promise<Uint8Array> {
  const { volume, medium } = await open(Uint8Array.from(bytes));
  await changeSlots(volume, change, how);
  return medium.bytes;
}

const active = async (bytes: Uint8Array): Promise<number[]> =>
  (await open(bytes)).volume.header.slots.flatMap(({ isActive }, index) => (isActive ? [index] : []));

describe('a change of key slots', () => {
  it('adds, takes over and erases, and the key stays what it is', async () => {
    const first = await newVolume('old');
    const key = await (await open(first)).volume.unlock(text('old'));
    const two = await changed(first, activate(), context('old'));
    expect([await active(two), await opens(two, 'old', 'new', 'other')]).toEqual([
      [0, 1],
      [true, true, false],
    ]);
    expect(await (await open(two)).volume.unlock(text('new'))).toEqual(key);
    const seven = await changed(two, activate({ keySlot: 7, newSecret: 'third' }), context('new'));
    expect([await active(seven), await opens(seven, 'third')]).toEqual([[0, 1, 7], [true]]);
    const forced = await changed(seven, activate({ keySlot: 0, newSecret: 'fourth' }), context('third', true));
    expect([await active(forced), await opens(forced, 'old', 'fourth')]).toEqual([
      [0, 1, 7],
      [false, true],
    ]);
    const erased = await changed(forced, inactivate({ oldSecret: 'new' }), context('third'));
    expect([await active(erased), await opens(erased, 'new', 'third')]).toEqual([
      [0, 7],
      [false, true],
    ]);
    const last = await changed(erased, inactivate({ keySlot: 7, oldSecret: 'third' }), context('fourth'));
    expect([await active(last), await opens(last, 'fourth')]).toEqual([[0], [true]]);
    expect(await active(await changed(last, inactivate({ keySlot: 0 }), context('fourth', true)))).toEqual([]);
  });

  it('overwrites the key material of a slot that is erased', async () => {
    const two = await changed(await newVolume('old'), activate(), context('old'));
    const { volume } = await open(Uint8Array.from(two));
    const at = (volume.header.slots[1]?.keyOffset ?? 0) * 512;
    const erased = await changed(two, inactivate({ keySlot: 1 }), context('old'));
    expect(Buffer.compare(erased.subarray(at, at + 64000), two.subarray(at, at + 64000))).not.toBe(0);
    expect((await open(erased)).volume.header.slots[1]).toMatchObject({ isActive: false, iterations: 0, salt: new Uint8Array(32) });
  });

  it('fills all slots, and says so', async () => {
    let bytes = await newVolume('old');
    for (let slot = 1; slot < 8; slot++) bytes = await changed(bytes, activate(), context('old'));
    await expect(changed(bytes, activate(), context('old'))).rejects.toThrow("Can't add a keyslot - all keyslots are in use");
    // none to spare
    const forced = await changed(bytes, activate({ keySlot: 3, newSecret: 'third' }), context('old', true));
    expect(await opens(forced, 'old', 'new', 'third')).toEqual([true, true, true]);
  });

  it.each([
    [activate({ newSecret: undefined }), "'new-secret' is required to activate a keyslot"],
    [activate({ oldSecret: 'old' }), "'old-secret' must not be given when activating keyslots"],
    [activate({ keySlot: 0 }), 'Refusing to overwrite active keyslot 0 - please erase it first'],
    [activate({ keySlot: 8 }), 'Invalid keyslot 8 specified, must be between 0 and 7'],
    [inactivate(), 'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given'],
    [inactivate({ newSecret: 'new' }), "'new-secret' must not be given when erasing keyslots"],
    [inactivate({ iterTime: 1, keySlot: 0 }), "'iter-time' must not be given when erasing keyslots"],
    [inactivate({ keySlot: 9 }), 'Invalid keyslot 9 specified, must be between 0 and 7'],
    [inactivate({ keySlot: 5 }), 'Given keyslot 5 is already erased (inactive) '],
    [inactivate({ keySlot: 0, oldSecret: 'new' }), "Given keyslot 0 doesn't contain the given old password for erase operation"],
    [inactivate({ oldSecret: 'new' }), 'No keyslots match given (old) password for erase operation'],
    [inactivate({ keySlot: 0 }), 'Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - refusing operation'],
    [
      inactivate({ oldSecret: 'old' }),
      'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation',
    ],
  ])('that may not be is refused with nothing written (%#)', async (change, message) => {
    const { volume, medium } = await open(await newVolume('old'));
    await expect(changeSlots(volume, change, context('old'))).rejects.toThrow(message);
    expect(medium.log).toEqual([]);
  });
});

/** What may be changed, which passphrases open the volume before, and which of them must always. */
const changes: readonly [name: string, change: SlotChange, force: boolean, always: readonly (readonly string[])[]][] = [
  ['a new slot', activate(), false, [['old']]],
  ['a new slot across two sectors', activate({ keySlot: 6 }), false, [['old']]],
  ['a new last slot', activate({ keySlot: 7 }), false, [['old']]],
  ['a slot erased', inactivate({ keySlot: 1 }), false, [['old']]],
  ['the only slot of a passphrase taken over', activate({ keySlot: 0, newSecret: 'fresh' }), true, [['old', 'fresh'], ['second']]],
];

describe.each(changes)('%s', (_name, change, force, always) => {
  const prepared = async (): Promise<Uint8Array> => changed(await newVolume('old'), activate({ newSecret: 'second' }), context('old'));
  const check = async (state: Uint8Array): Promise<void> => {
    for (const passwords of always) expect(await opens(state, ...passwords)).toContain(true);
  };

  it('is there or is not after a power cut', async () => {
    const before = await prepared();
    const { volume, medium } = await open(Uint8Array.from(before));
    await changeSlots(volume, change, context('old', force));
    let count = 0;
    for (const state of cuts(before, medium.log)) {
      await check(state);
      count++;
    }
    expect(count).toBeGreaterThan(20);
  });

  it('leaves the volume one that opens when a write or a flush fails, and can be tried again', async () => {
    const before = await prepared();
    for (let failAt = 0; ; failAt++) {
      const { volume, medium } = await open(Uint8Array.from(before));
      medium.failAt = failAt;
      const result = await changeSlots(volume, change, context('old', force)).catch((error: Error) => error.message);
      if (result === undefined) break;
      expect(result).toBe('medium failed');
      await check(medium.bytes);
    }
  });
});

it('takes the only slot there is without ever leaving the volume closed', async () => {
  const before = await newVolume('old');
  const { volume, medium } = await open(Uint8Array.from(before));
  await changeSlots(volume, activate({ keySlot: 0 }), context('old', true));
  for (const state of cuts(before, medium.log)) expect(await opens(state, 'old', 'new')).toContain(true);
  expect([await active(medium.bytes), await opens(medium.bytes, 'old', 'new')]).toEqual([[0], [false, true]]);
});
