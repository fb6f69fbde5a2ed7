/* What the tests of requests of one node share: a node whose driver answers when the test says, and what comes of requests. */
import type { Child } from '../../src/core/block/child.ts';
import type { BlockNode } from '../../src/core/block/node.ts';
import type { Maybe } from '../../src/core/util/maybe.ts';
import { FakeNode, type FakeOptions, userOf } from './fake-node.ts';

export interface Made {
  readonly fake: FakeNode;
  readonly node: BlockNode;
  readonly edge: Child;
}

export function make(options: FakeOptions = {}): Made {
  const fake = new FakeNode('n', options);
  const edge = userOf(fake.node).root;
  if (edge === undefined) throw new Error('no edge');
  return { fake, node: fake.node, edge };
}

export const bytes = (length: number, value = 7): Uint8Array => new Uint8Array(length).fill(value);
export const how: { readonly exact: true; readonly prealloc: 'off' } = { exact: true, prealloc: 'off' };

/** Collects the names of promises as they settle. */
export function watch(done: string[], name: string, request: Maybe<unknown>): void {
  void Promise.resolve(request).then(
    () => done.push(name),
    () => done.push(`${name} failed`),
  );
}

export async function codeOf(body: () => unknown): Promise<string> {
  try {
    await body();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}
