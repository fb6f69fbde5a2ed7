/* Limits that follow from those below: the same object as long as these are, and others at once when they change. */
import { expect, it, vi } from 'vitest';
import { DerivedLimits, limitsOver } from '../../../src/core/block/derived-limits.ts';
import { noLimits } from '../../../src/core/block/driver.ts';
import { FakeNode, userOf } from '../../support/fake-node.ts';

function childWith(requestAlign: number) {
  const { root } = userOf(new FakeNode('n', { limits: { requestAlign } }).node);
  if (root === undefined) throw new Error('no edge');
  return root;
}

it('are made once as long as nothing changes below', () => {
  const derive = vi.fn((below: typeof noLimits) => ({ ...below, requestAlign: below.requestAlign * 2 }));
  const limits = limitsOver(childWith(512), derive);
  const first = limits.value;
  expect(first.requestAlign).toBe(1024);
  expect(limits.value).toBe(first);
  expect(derive).toHaveBeenCalledTimes(1);
});

it('follow any of the nodes below', () => {
  const children = [childWith(1), childWith(4096)];
  const limits = new DerivedLimits(children, (below) => ({ ...noLimits, requestAlign: Math.max(...below.map(({ requestAlign }) => requestAlign)) }));
  expect(limits.value.requestAlign).toBe(4096);
  const [, second] = children;
  vi.spyOn(second?.node ?? {}, 'limits' as never, 'get').mockReturnValue({ ...noLimits, requestAlign: 65536 } as never);
  expect(limits.value.requestAlign).toBe(65536);
});
