/*
 * Changes of the graph as actions: one definition a kind, made by a function of the file that is its home. A command is a
 * transaction of one action; QMP's `transaction` hands over several, which take effect at one instant or not at all, and
 * of which a later one sees what the earlier ones did. What may wait comes before the graph turn or after the change.
 */
import { drainAll } from '../../core/block/drain.ts';
import type { BlockNode } from '../../core/block/node.ts';
import { Transaction } from '../../core/block/transaction.ts';
import { BlockError, InvariantError } from '../../core/util/errors.ts';
import { asBlockError } from '../../core/util/internal-error.ts';
import { isPending, type Maybe } from '../../core/util/maybe.ts';
import type { Engine } from '../engine.ts';

export interface Action<R = void> {
  /** It needs the media at rest: nothing is in flight anywhere while it is applied. */
  readonly drains: boolean;
  /** Opens, apart and without the turn, what its own arguments name. A failure is told at the action's place among the others. */
  open?(): Promise<void>;
  /**
   * Look-ups, checks in QEMU's order, the change, and the steps that let it take effect or take it back. Waits only for
   * bounded requests to its own node (a snapshot or bitmap inside an image).
   */
  apply(transaction: Transaction): Maybe<R>;
  /** In the turn, when requests flow again: closes what nobody uses any more, and what was opened for nothing. */
  clean?(): Promise<void>;
  /** The nodes that it sends requests to: a bug on the way leaves them in an unknown state. */
  touched?(): readonly BlockNode[];
}

/** Carries out one action. Nothing has changed when it throws, but where closing something needless failed. */
export async function runAction<R>(engine: Engine, action: Action<R>): Promise<R> {
  for (const result of await runActions(engine, [action])) return result;
  throw new InvariantError('an action without a result');
}

/** Carries out all actions or none, and gives their results. `drains`: at one instant of all disks, whatever the actions need. */
export async function runActions<R>(engine: Engine, actions: readonly Action<R>[], { drains = false }: { readonly drains?: boolean } = {}): Promise<R[]> {
  const failure = await openInOrder(actions);
  return engine.graph.turn(async () => {
    try {
      using _section = drains || actions.some((action) => action.drains) ? await drainAll(engine.graph) : undefined;
      return await applyAll(actions, failure);
    } finally {
      await cleanAll(actions);
    }
  });
}

interface OpenFailure {
  readonly index: number;
  readonly error: unknown;
}

/** The first failure; what comes after it is not tried. */
async function openInOrder(actions: readonly Action<unknown>[]): Promise<OpenFailure | undefined> {
  for (const [index, action] of actions.entries()) {
    try {
      await action.open?.();
    } catch (error) {
      return { index, error };
    }
  }
  return undefined;
}

async function applyAll<R>(actions: readonly Action<R>[], failure: OpenFailure | undefined): Promise<R[]> {
  const transaction = new Transaction();
  const results: R[] = [];
  for (const [index, action] of actions.entries()) {
    try {
      if (failure?.index === index) throw failure.error;
      const result = action.apply(transaction);
      // an await gives others a turn: only where there is something to wait for
      results.push(isPending(result) ? await result : result);
    } catch (error) {
      if (!(error instanceof BlockError)) for (const node of action.touched?.() ?? []) node.breakDown(error);
      undo(transaction);
      throw asBlockError(error);
    }
  }
  try {
    transaction.commit();
  } catch (bug) {
    throw asBlockError(bug);
  }
  return results;
}

/** A bug in a step has broken what the step was about, and that is told to whoever uses it; the action's own error is this command's. */
function undo(transaction: Transaction): void {
  try {
    transaction.abort();
  } catch {}
}

/** Newest first. Every one is tried; the first error is thrown when all are through. */
async function cleanAll(actions: readonly Action<unknown>[]): Promise<void> {
  const failures: unknown[] = [];
  for (const action of [...actions].reverse()) {
    try {
      await action.clean?.();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
