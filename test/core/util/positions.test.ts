/* Positions of guests and of media: the compiler keeps them apart, where they are arithmetic, too. */
import { expect, it } from 'vitest';
import { type GuestPosition, guestOffset, type HostPosition, hostOffset } from '../../../src/core/util/offsets.ts';
import { l1IndexOf, makeGeometry } from '../../../src/qcow2/address.ts';

it('neither is taken for the other', () => {
  const geometry = makeGeometry({ clusterBits: 16, isExtended: false, refcountOrder: 4, version: 3 });
  const host: HostPosition = hostOffset(4096);
  const guest: GuestPosition = guestOffset(4096);
  // @ts-expect-error a position on a medium has no place in the L1 table
  l1IndexOf(geometry, host);
  // @ts-expect-error checked ones neither
  l1IndexOf(geometry, hostOffset(4096));
  // @ts-expect-error nor is a guest's position one on a medium
  const wrong: HostPosition = guest;
  expect([l1IndexOf(geometry, guest), l1IndexOf(geometry, guest + 1), wrong]).toEqual([0, 0, 4096]);
});
