/* Encrypted images that are written, resized and whose key slots change; every medium opens by the passphrase that was kept. */
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { Random } from '../support/random.ts';
import type { Guest } from './guest.ts';
import { history, kib } from './histories.ts';
import type { Scenario } from './scenario.ts';

const secrets = { s: 'kept', n: 'new' };
/** The smallest volume: its header takes half a MiB. */
const luks: CreateValues = {
  'encrypt.format': 'luks',
  'encrypt.key-secret': 's',
  'encrypt.iter-time': 0,
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
};

async function amend(guest: Guest, values: CreateValues): Promise<void> {
  await guest.attempt(async () => guest.backend.node?.state.amend?.(values, { force: true, onProgress: () => {} }));
}

async function changeSlots(guest: Guest, random: Random): Promise<void> {
  const slot = 1 + random(7);
  const active = (keyslot: number): CreateValues => ({
    'encrypt.state': 'active',
    'encrypt.new-secret': 'n',
    'encrypt.keyslot': keyslot,
    'encrypt.iter-time': 0,
  });
  await guest.write(random(8) * kib, 3 * kib, 1);
  await amend(guest, active(slot));
  await guest.write(random(8) * kib, 3 * kib, 2);
  // taken over
  await amend(guest, active(slot));
  if (random(2) === 0) await guest.flush();
  await amend(guest, { 'encrypt.state': 'inactive', 'encrypt.keyslot': slot });
  await guest.write(random(8) * kib, 3 * kib, 3);
}

export const encrypted: readonly Scenario[] = [
  history('AES', { 'encrypt.format': 'aes', 'encrypt.key-secret': 's' }, kib, { secrets }),
  history('AES that is resized', { 'encrypt.format': 'aes', 'encrypt.key-secret': 's' }, 512, { secrets, mix: { resize: [20 * kib, 48 * kib, 80 * kib] } }),
  history('LUKS', luks, 4 * kib, { secrets, count: 300 }),
  {
    name: 'key slots',
    values: { size: 48 * kib, cluster_size: kib, ...luks },
    secrets,
    before: (guest) => guest.write(0, 48 * kib, 9),
    play: changeSlots,
    count: 300,
  },
];
