/* Command lines of tsio beside the peer's qemu-io. */
import { expect, it } from 'vitest';
import { ioCases } from './io-cases.ts';
import { compareIo } from './io-suite.ts';

compareIo('tsio answers as qemu-io', ioCases);

it('tsio is compared in enough cases', () => {
  expect(ioCases.length).toBeGreaterThanOrEqual(250);
});
