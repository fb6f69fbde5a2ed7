/* Extents: what one node tells with its children, and what a chain of layers comes to; at once and when answers take time. */
import { describe, expect, it } from 'vitest';
import { chainStatus, nodeStatus } from '../../../src/core/block/block-status.ts';
import { type BlockDriver, type BlockStatus, childRole } from '../../../src/core/block/driver.ts';
import { Graph } from '../../../src/core/block/graph.ts';
import type { BlockNode } from '../../../src/core/block/node.ts';
import { isPending, type Maybe } from '../../../src/core/util/maybe.ts';
import { attachBelow, FakeNode } from '../../support/fake-node.ts';

const size = 65536;
const mib = 1 << 20;

type Told = Partial<BlockStatus> & { readonly length: number };
const status = (told: Told): BlockStatus => ({ data: false, zero: false, allocated: false, ...told });

function make(name: string, told: Told | undefined, driver: Partial<BlockDriver> = {}, bytes = size): BlockNode {
  return new FakeNode(name, { size: bytes, driver, ...(told === undefined ? {} : { status: () => status(told) }) }).node;
}

const overlay: Partial<BlockDriver> = { supportsBacking: true };
const at = (node: BlockNode, offset = 0, length = mib, precise = true): Maybe<BlockStatus> => nodeStatus(node, offset, length, precise);

describe('the state of one node', () => {
  it('is data where its driver cannot tell, with a place only on a medium', () => {
    const format = make('format', undefined);
    expect(at(format, 512, 1024)).toEqual({ length: 1024, data: true, zero: false, allocated: true });
    expect(at(format, 512)).toEqual({ length: size - 512, data: true, zero: false, allocated: true });
    const protocol = make('protocol', undefined, { kind: 'protocol' });
    expect(at(protocol, 512, 1024)).toEqual({ length: 1024, data: true, zero: false, allocated: true, hostOffset: 512, holder: protocol });
  });

  it('is zeros past its end, but for a medium, whose last sector has a place', () => {
    const zeros = { data: false, zero: true, allocated: false };
    const format = make('format', undefined, {}, 1000);
    expect(at(format, 1000, 4096)).toEqual({ ...zeros, length: 4096 });
    const medium = make('medium', undefined, { kind: 'protocol', isMedium: true }, 1000);
    expect(at(medium, 1000, 4096)).toEqual({ ...zeros, length: 24, hostOffset: 1000, holder: medium });
    expect(at(medium, 1010, 4)).toEqual({ ...zeros, length: 4, hostOffset: 1010, holder: medium });
    expect(at(medium, 1024, 4096)).toEqual({ ...zeros, length: 4096 });
    expect(at(medium, 9999, 4096)).toEqual({ ...zeros, length: 4096 });
  });

  it('ends where it was asked to, and has its place in the child that the driver names, else in the node', () => {
    const graph = new Graph();
    const node = new FakeNode('node', { driver: overlay, status: () => status({ length: mib, data: true, allocated: true, hostOffset: 8192, child }) });
    const file = make('file', undefined);
    const child = attachBelow(graph, node.node, file, childRole.data);
    expect(at(node.node, 0, 512)).toEqual({ length: 512, data: true, zero: false, allocated: true, hostOffset: 8192, child, holder: file });
    const medium = make('medium', { length: 512, data: true, allocated: true, hostOffset: 0 });
    expect(at(medium)).toMatchObject({ length: 512, holder: medium });
    expect(at(make('nowhere', { length: 512, data: true, allocated: true }))).not.toHaveProperty('holder');
  });

  it('that is not here reads as zeros where nothing lies below', () => {
    const graph = new Graph();
    expect(at(make('alone', { length: 512 }, overlay))).toMatchObject({ zero: true, allocated: false });
    expect(at(make('never', { length: 512 }))).toMatchObject({ zero: false, allocated: false });
    const top = make('top', { length: 512 }, overlay);
    attachBelow(graph, top, make('base', undefined, {}, 4096), childRole.cow, 'backing');
    expect(at(top, 4095)).toMatchObject({ zero: false });
    expect(at(top, 4096)).toMatchObject({ zero: true, allocated: false });
    // what it has itself stays as it is
    expect(at(make('own', { length: 512, allocated: true }, overlay))).toMatchObject({ zero: false });
    expect(at(make('elsewhere', { length: 512, data: true }, overlay))).toMatchObject({ zero: false, data: true });
  });

  it('is merged with holes of the file below when it is to be precise', () => {
    const graph = new Graph();
    const with_ = (below: Told, own: Partial<BlockStatus> = {}): BlockNode => {
      const node = new FakeNode('node', {
        status: () => status({ length: 4096, data: true, allocated: true, hostOffset: 8192, recurse: true, child, ...own }),
      });
      const child = attachBelow(graph, node.node, make('file', below), childRole.data);
      return node.node;
    };
    const hole = { length: 1024, zero: true };
    expect(at(with_(hole))).toMatchObject({ length: 1024, zero: true, data: true, allocated: true, hostOffset: 8192 });
    expect(at(with_(hole), 0, mib, false)).toMatchObject({ length: 4096, zero: false });
    expect(at(with_({ length: mib, data: true, allocated: true }))).toMatchObject({ length: 4096, zero: false });
    expect(at(with_(hole, { hostOffset: size }))).toMatchObject({ length: 4096, zero: true });
    for (const own of [{ recurse: false }, { data: false }, { hostOffset: undefined }])
      expect(at(with_(hole, own))).toMatchObject({ length: 4096, zero: false });
    expect(at(with_({ ...hole, zero: false, data: true }, { zero: true }))).toMatchObject({ length: 4096, zero: true });
  });

  it('is that of the child where the node passes it on', () => {
    const graph = new Graph();
    const filter = make('filter', undefined, { kind: 'filter' });
    attachBelow(graph, filter, make('below', { length: 512, zero: true }), childRole.filtered);
    expect(at(filter, 1024)).toMatchObject({ length: 512, data: false, zero: true, allocated: false });
    const seen: number[][] = [];
    const window = new FakeNode('window', { status: (offset, length) => status({ length, hostOffset: offset + 4096, forward: true, child }) });
    const file = new FakeNode('file', {
      status: (offset, length) => {
        seen.push([offset, length]);
        return status({ length: mib, zero: true });
      },
    });
    const child = attachBelow(graph, window.node, file.node, childRole.data);
    // raw decides: what lies on its file is here
    expect(at(window.node, 512, 1024)).toMatchObject({ length: 1024, zero: true, allocated: true });
    expect(seen).toEqual([[4608, 1024]]);
    expect(at(make('nothing below', { length: 512, forward: true }))).toEqual(status({ length: 512, forward: true }));
  });
});

describe('the state of a chain', () => {
  /** top over middle over base; sizes from the top down. */
  function chainOf(tops: readonly (Told | undefined)[], sizes: readonly number[] = []): BlockNode[] {
    const graph = new Graph();
    const nodes = tops.map((told, index) => make(`layer${index}`, told, overlay, sizes[index] ?? size));
    nodes.slice(1).forEach((node, index) => {
      const above = nodes[index];
      if (above !== undefined) attachBelow(graph, above, node, childRole.cow, 'backing');
    });
    return nodes;
  }
  const first = ([top]: BlockNode[]): BlockNode => top ?? expect.fail('no chain');
  const absent = { length: mib };
  const data = { length: mib, data: true, allocated: true };

  it('is that of the first layer which has something, as far as all above have nothing', () => {
    const nodes = chainOf([{ length: 4096 }, { length: 1024 }, data]);
    expect(chainStatus(first(nodes), undefined, 0, mib, true)).toMatchObject({ length: 1024, data: true, allocated: true, depth: 2, node: nodes[2] });
    const own = chainOf([data, data]);
    expect(chainStatus(first(own), undefined, 0, 512, true)).toMatchObject({ length: 512, depth: 0, node: own[0] });
    const none = chainOf([absent, absent]);
    expect(chainStatus(first(none), undefined, 0, mib, true)).toMatchObject({ length: size, allocated: false, zero: true, depth: 1, node: none[1] });
  });

  it('goes down to the base and does not ask it', () => {
    const nodes = chainOf([absent, absent, data]);
    expect(chainStatus(first(nodes), nodes[1], 0, 512, true)).toMatchObject({ allocated: false, depth: 0, node: nodes[0] });
    expect(chainStatus(first(nodes), nodes[2], 0, 512, true)).toMatchObject({ allocated: false, depth: 1, node: nodes[1] });
  });

  it('ends with a layer below that is shorter, whose rest is zeros of the layer above it', () => {
    const nodes = chainOf([absent, data], [size, 4096]);
    expect(chainStatus(first(nodes), undefined, 1024, mib, true)).toMatchObject({ length: 3072, data: true, depth: 1 });
    expect(chainStatus(first(nodes), undefined, 4096, mib, true)).toMatchObject({
      ...{ length: size - 4096, data: false, zero: true, allocated: true },
      ...{ depth: 1, node: nodes[1] },
    });
  });

  it('is told of the image below a filter on top', () => {
    const graph = new Graph();
    const [image] = chainOf([data]);
    const filter = make('filter', undefined, { kind: 'filter' });
    if (image !== undefined) attachBelow(graph, filter, image, childRole.filtered);
    expect(chainStatus(filter, undefined, 0, 512, true)).toMatchObject({ depth: 0, node: image });
  });

  it('that took time is asked of the layer above again', async () => {
    const graph = new Graph();
    let isHere = false;
    let length = 4096;
    const top = new FakeNode('top', { driver: overlay, status: () => status({ length, allocated: isHere, data: isHere }) }).node;
    const base = new FakeNode('base', { driver: overlay, status: async () => status(data) }).node;
    attachBelow(graph, top, base, childRole.cow, 'backing');
    const same = chainStatus(top, undefined, 0, mib, true);
    expect(isPending(same)).toBe(true);
    expect(await same).toMatchObject({ length: 4096, depth: 1, node: base });
    // a part of it was copied up meanwhile
    const part = chainStatus(top, undefined, 0, mib, true);
    length = 512;
    expect(await part).toMatchObject({ length: 512, depth: 1, node: base });
    const copied = chainStatus(top, undefined, 0, mib, true);
    isHere = true;
    expect(await copied).toMatchObject({ length: 512, allocated: true, depth: 0, node: top });
  });
});
