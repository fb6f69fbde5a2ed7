/* LUKS headers: the codec, and headers that lie, which cost neither memory nor time. */
import { beforeAll, describe, expect, it } from 'vitest';
import { setU32 } from '../../src/core/util/bytes.ts';
import { decodeLuksHeader, encodeLuksHeader, luksHeaderBytes, specOfHeader } from '../../src/crypto/luks-header.ts';
import { LuksVolume, maxUnlockRounds } from '../../src/crypto/luks-volume.ts';
import { MemoryVolume, newVolume, smallSpec, text } from './volume.ts';

let valid: Uint8Array;
beforeAll(async () => {
  valid = await newVolume('old');
});

const slot = (index: number): number => 208 + 48 * index;
const name = (at: number, value: string) => (bytes: Uint8Array) => void bytes.set(Buffer.from(`${value}\0`), at);
const u32 = (at: number, value: number) => (bytes: Uint8Array) => setU32(bytes, at, value);

it('is encoded as it was decoded', () => {
  expect(encodeLuksHeader(decodeLuksHeader(valid, false))).toEqual(valid.slice(0, luksHeaderBytes));
});

it('lies where the peer puts it', () => {
  const header = decodeLuksHeader(valid, false);
  expect([header.payloadOffset, header.slots.map(({ keyOffset }) => keyOffset)]).toEqual([1032, [8, 136, 264, 392, 520, 648, 776, 904]]);
  expect(specOfHeader(header)).toEqual(smallSpec());
});

describe('a header is refused when', () => {
  it.each<[string, (bytes: Uint8Array) => void, string]>([
    ['the magic is another', name(0, 'XUKS'), 'Volume is not in LUKS format'],
    ['the version is 2', (bytes) => void bytes.set([0, 2], 6), 'LUKS version 2 is not supported'],
    ['the cipher does not end', (bytes) => void bytes.fill(97, 8, 40), 'LUKS header cipher name is not NUL terminated'],
    ['the mode does not end', (bytes) => void bytes.fill(97, 40, 72), 'LUKS header cipher mode is not NUL terminated'],
    ['the hash does not end', (bytes) => void bytes.fill(97, 72, 104), 'LUKS header hash spec is not NUL terminated'],
    ['the payload lies in it', u32(104, 7), 'LUKS payload is overlapping with the header'],
    ['the payload lies in a slot', u32(104, 8), 'Keyslot 0 is overlapping with the encrypted payload'],
    ['the key is endless', u32(108, 0xffffffff), 'Keyslot 0 is overlapping with the encrypted payload'],
    ['the key is empty', u32(108, 0), "Algorithm 'aes' with key size 0 bytes not supported"],
    ['the digest has no rounds', u32(164, 0), 'LUKS key iteration count is zero'],
    ['the cipher is unknown', name(8, 'foo'), "Algorithm 'foo' with key size 16 bytes not supported"],
    ['the mode has no IVs', name(40, 'cbc'), "Unexpected cipher mode string format 'cbc'"],
    ['the mode is unknown', name(40, 'foo-plain64'), "Cipher mode 'foo' not supported"],
    ['the IVs are unknown', name(40, 'cbc-foo'), "IV generator 'foo' not supported"],
    ['essiv has no hash', name(40, 'cbc-essiv'), 'Missing IV generator hash specification'],
    ['essiv has no cipher', name(40, 'cbc-essiv:sha1'), 'No AES cipher with key size 20 available'],
    ['the hash of the IVs is unknown', name(40, 'cbc-plain:foo'), "Hash algorithm 'foo' not supported"],
    ['the hash is unknown', name(72, 'whirlpool'), "Hash algorithm 'whirlpool' not supported"],
    ['a slot has another state', u32(slot(1), 5), 'Keyslot 1 state (active/disable) is corrupted'],
    ['a slot has no rounds', u32(slot(0) + 4, 0), 'Keyslot 0 iteration count is zero'],
    ['a slot has no stripes', u32(slot(0) + 44, 0), 'Keyslot 0 is corrupted (stripes 0 != 4000)'],
    ['a slot has endless stripes', u32(slot(7) + 44, 0xffffffff), 'Keyslot 7 is corrupted (stripes -1 != 4000)'],
    ['a slot lies in it', u32(slot(0) + 40, 7), 'Keyslot 0 is overlapping with the LUKS header'],
    ['a slot lies in another', u32(slot(3) + 40, 136), 'Keyslots 1 and 3 are overlapping in the header'],
    ['a slot lies in the payload', u32(slot(7) + 40, 905), 'Keyslot 7 is overlapping with the encrypted payload'],
    ['a slot lies beyond all', u32(slot(7) + 40, 0xffffffff), 'Keyslot 7 is overlapping with the encrypted payload'],
  ])('%s', async (_case, edit, message) => {
    const bytes = Uint8Array.from(valid);
    edit(bytes);
    await expect(LuksVolume.open(new MemoryVolume(bytes), false)).rejects.toThrow(message);
  });

  it('it is cut, anywhere', async () => {
    for (let end = 0; end < luksHeaderBytes - 8; end += 7) await expect(LuksVolume.open(new MemoryVolume(valid.slice(0, end)), false)).rejects.toThrow();
  });
});

describe('rounds without end', () => {
  it.each([
    ['of one slot', [u32(slot(0) + 4, 0xffffffff)]],
    ['of the digest', [u32(164, 0xffffffff)]],
    ['of one slot, just too many', [u32(slot(0) + 4, maxUnlockRounds)]],
  ])('%s are not begun', async (_case, edits) => {
    const bytes = Uint8Array.from(valid);
    for (const edit of edits) edit(bytes);
    const volume = await LuksVolume.open(new MemoryVolume(bytes), false);
    await expect(volume.unlock(text('old'))).rejects.toThrow(`The key slots ask for more than ${maxUnlockRounds} iterations`);
  });
});

it('says that a passphrase is wrong, also where key material is cut off', async () => {
  const volume = await LuksVolume.open(new MemoryVolume(valid), false);
  await expect(volume.unlock(text('other'))).rejects.toThrow('Invalid password, cannot unlock any keyslot');
  const cut = await LuksVolume.open(new MemoryVolume(valid.slice(0, 8 * 512 + 100)), false);
  await expect(cut.unlock(text('old'))).rejects.toThrow('Invalid password, cannot unlock any keyslot');
});

it('with the header apart may have its payload at the start of another file', async () => {
  const bytes = await newVolume('old', smallSpec(), true);
  await expect(LuksVolume.open(new MemoryVolume(bytes), false)).rejects.toThrow('LUKS payload is overlapping with the header');
  const volume = await LuksVolume.open(new MemoryVolume(bytes), true);
  expect([volume.payloadOffset, (await volume.unlock(text('old'))).length]).toEqual([0, 16]);
});
