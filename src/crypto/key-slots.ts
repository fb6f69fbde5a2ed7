/*
 * Changes of key slots: activate and erase, with QEMU's rules and words. A cut leaves the slots as they were or as they are
 * to be, and a volume that could be opened can still be: key material is durable before its slot is called active, a slot is
 * called dead before its material goes, and a slot that is taken over has its new key in a free slot meanwhile.
 * Rule source: LUKS on-disk format 1.2; observed behaviour of qemu-img amend 11.1.
 */
import type { Clock } from '../core/util/clock.ts';
import { BlockError } from '../core/util/errors.ts';
import { encodeSlotParts, type KeySlot, materialBytes, saltBytes, slotCount } from './luks-header.ts';
import { defaultIterTime } from './luks-values.ts';
import { type LuksVolume, makeSlot, maxUnlockRounds, slotIterations } from './luks-volume.ts';
import { randomBytes } from './node-crypto.ts';
import { cryptoSector } from './sector-size.ts';

/** QAPI's QCryptoBlockAmendOptionsLUKS. */
export interface SlotChange {
  readonly isActive: boolean;
  readonly newSecret: string | undefined;
  readonly oldSecret: string | undefined;
  readonly keySlot: number | undefined;
  /** Milliseconds. */
  readonly iterTime: number | undefined;
}

export interface SlotChangeContext {
  readonly force: boolean;
  readonly clock: Clock;
  /** The passphrase that the volume was opened with. */
  readonly password: Uint8Array;
  /** The passphrase behind a secret's id. */
  secret(id: string): Uint8Array;
}

function refuse(text: string): BlockError {
  return new BlockError(text, { code: 'EINVAL' });
}

/** Carries out one change. Throws QEMU's words; nothing has changed then, unless a write failed. */
export async function changeSlots(volume: LuksVolume, change: SlotChange, context: SlotChangeContext): Promise<void> {
  await volume.refresh();
  await (change.isActive ? activate(volume, change, context) : erase(volume, change, context));
}

/** `shown`: the number as the message has it. */
function checkSlot(index: number, shown: number): void {
  if (index < 0 || index >= slotCount) throw refuse(`Invalid keyslot ${shown} specified, must be between 0 and ${slotCount - 1}`);
}

function slotAt(volume: LuksVolume, index: number): KeySlot {
  const slot = volume.header.slots[index];
  if (slot === undefined) throw refuse(`Invalid keyslot ${index} specified, must be between 0 and ${slotCount - 1}`);
  return slot;
}

function findFree(volume: LuksVolume): number {
  return volume.header.slots.findIndex(({ isActive }) => !isActive);
}

async function activate(volume: LuksVolume, change: SlotChange, context: SlotChangeContext): Promise<void> {
  if (change.newSecret === undefined) throw refuse("'new-secret' is required to activate a keyslot");
  if (change.oldSecret !== undefined) throw refuse("'old-secret' must not be given when activating keyslots");
  let index = change.keySlot;
  if (index !== undefined) {
    checkSlot(index, index >>> 0);
    if (slotAt(volume, index).isActive && !context.force) throw refuse(`Refusing to overwrite active keyslot ${index} - please erase it first`);
  } else {
    index = findFree(volume);
    if (index < 0) throw refuse("Can't add a keyslot - all keyslots are in use");
  }
  const key = await volume.unlock(context.password);
  const password = context.secret(change.newSecret);
  const iterations = await slotIterations(volume.spec, key.length, change.iterTime ?? defaultIterTime, context.clock);
  const put = async (at: number): Promise<void> => {
    const { slot, material } = await makeSlot(volume.spec, key, password, { keyOffset: slotAt(volume, at).keyOffset, iterations });
    await volume.medium.write(slot.keyOffset * cryptoSector, material);
    await setSlot(volume, at, slot);
  };
  if (!slotAt(volume, index).isActive) return put(index);
  const spare = findFree(volume);
  if (spare >= 0) await put(spare);
  await killSlot(volume, index);
  await put(index);
  if (spare >= 0) await killSlot(volume, spare);
}

async function erase(volume: LuksVolume, change: SlotChange, context: SlotChangeContext): Promise<void> {
  if (change.newSecret !== undefined) throw refuse("'new-secret' must not be given when erasing keyslots");
  if (change.iterTime !== undefined) throw refuse("'iter-time' must not be given when erasing keyslots");
  const old = change.oldSecret === undefined ? undefined : context.secret(change.oldSecret);
  const budget = { rounds: maxUnlockRounds };
  const active = volume.header.slots.filter(({ isActive }) => isActive).length;
  const index = change.keySlot;
  if (index !== undefined) {
    checkSlot(index, index | 0);
    const slot = slotAt(volume, index);
    if (old !== undefined && (await volume.openSlot(slot, old, budget)) === undefined)
      throw refuse(`Given keyslot ${index} doesn't contain the given old password for erase operation`);
    if (!context.force && !slot.isActive) throw refuse(`Given keyslot ${index} is already erased (inactive) `);
    if (!context.force && active === 1)
      throw refuse(`Attempt to erase the only active keyslot ${index} which will erase all the data in the image irreversibly - refusing operation`);
    return killSlot(volume, index);
  }
  if (old === undefined) throw refuse('To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given');
  const matching: number[] = [];
  for (const [at, slot] of volume.header.slots.entries()) if ((await volume.openSlot(slot, old, budget)) !== undefined) matching.push(at);
  if (matching.length === 0) throw refuse('No keyslots match given (old) password for erase operation');
  if (!context.force && matching.length === active)
    throw refuse(
      'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation',
    );
  for (const at of matching) await killSlot(volume, at);
}

/** Calls the slot dead, then overwrites what it stood for. */
async function killSlot(volume: LuksVolume, index: number): Promise<void> {
  const { keyOffset } = slotAt(volume, index);
  await setSlot(volume, index, { isActive: false, iterations: 0, salt: new Uint8Array(saltBytes), keyOffset });
  const { medium, header } = volume;
  await medium.write(keyOffset * cryptoSector, randomBytes(materialBytes(header.keyBytes)));
  await medium.flush();
}

/** Writes a slot of the header, durably: what it stands for before it is called active, and the other way round. */
async function setSlot(volume: LuksVolume, index: number, slot: KeySlot): Promise<void> {
  const { medium } = volume;
  const { at, state, rest } = encodeSlotParts(slot, index);
  const writeState = (): unknown => medium.write(at, state);
  const writeRest = (): unknown => medium.write(at + state.length, rest);
  for (const write of slot.isActive ? [writeRest, writeState] : [writeState, writeRest]) {
    // key material too, where it was written before
    await medium.flush();
    await write();
  }
  await medium.flush();
  volume.header = { ...volume.header, slots: volume.header.slots.map((old, at) => (at === index ? slot : old)) };
}
