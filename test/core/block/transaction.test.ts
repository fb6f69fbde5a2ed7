/* Steps of a transaction: every one is reached, the newest first, and a bug in one is told when all are done. */
import { describe, expect, it } from 'vitest';
import { runTransaction, type Step, Transaction } from '../../../src/core/block/transaction.ts';

function recorded(): { readonly log: string[]; step(name: string, bug?: 'commit' | 'abort'): Step } {
  const log: string[] = [];
  return {
    log,
    step: (name, bug) => {
      const way = (what: 'commit' | 'abort') => (): void => {
        log.push(`${what} ${name}`);
        if (bug === what) throw new TypeError(`bug in ${name}`);
      };
      return { commit: way('commit'), abort: way('abort'), subject: { breakDown: (cause) => void log.push(`${name} broken: ${(cause as Error).message}`) } };
    },
  };
}

describe.each(['commit', 'abort'] as const)('%s', (way) => {
  it('goes through all steps, the newest first, and once', () => {
    const { log, step } = recorded();
    const transaction = new Transaction();
    for (const name of ['a', 'b', 'c']) transaction.add(step(name));
    transaction[way]();
    expect(log).toEqual([`${way} c`, `${way} b`, `${way} a`]);
    transaction[way]();
    transaction[way === 'commit' ? 'abort' : 'commit']();
    expect(log).toHaveLength(3);
  });

  it('passes by steps that have nothing to do', () => {
    const transaction = new Transaction();
    transaction.add({});
    expect(() => transaction[way]()).not.toThrow();
  });

  it('reaches the others when steps have a bug: those break what they were about, the first bug is told', () => {
    const { log, step } = recorded();
    const transaction = new Transaction();
    for (const name of ['a', 'b', 'c', 'd']) transaction.add(step(name, name === 'b' || name === 'c' ? way : undefined));
    expect(() => transaction[way]()).toThrow('bug in c');
    expect(log).toEqual([`${way} d`, `${way} c`, 'c broken: bug in c', `${way} b`, 'b broken: bug in b', `${way} a`]);
  });

  it('needs nothing to break', () => {
    const transaction = new Transaction();
    transaction.add({
      [way]: () => {
        throw new TypeError('bug');
      },
    });
    expect(() => transaction[way]()).toThrow(TypeError);
  });
});

describe('runTransaction', () => {
  it('commits and gives the result', () => {
    const { log, step } = recorded();
    const result = runTransaction((transaction) => {
      transaction.add(step('a'));
      return 5;
    });
    expect([result, ...log]).toEqual([5, 'commit a']);
  });

  it('aborts and throws on', () => {
    const { log, step } = recorded();
    const body = (transaction: Transaction): void => {
      transaction.add(step('a'));
      throw new RangeError('no');
    };
    expect(() => runTransaction(body)).toThrow(new RangeError('no'));
    expect(log).toEqual(['abort a']);
  });

  it('does not abort what was committed when a commit has a bug', () => {
    const { log, step } = recorded();
    expect(() => runTransaction((transaction) => transaction.add(step('a', 'commit')))).toThrow('bug in a');
    expect(log).toEqual(['commit a', 'a broken: bug in a']);
  });
});
