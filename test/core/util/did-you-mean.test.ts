import { describe, expect, it } from 'vitest';
import { didYouMean, nearestWord } from '../../../src/core/util/did-you-mean.ts';

const words = ['blockdev-add', 'blockdev-backup', 'blockdev-del', 'block_resize', 'query-block', 'stop', 'sync', 'none', 'full', 'top'];

describe('the word that was meant', () => {
  it.each([
    ['blockdev-ad', 'blockdev-add'],
    ['blockdev_add', 'blockdev-add'],
    ['BLOCKDEV-DEL', 'blockdev-del'],
    ['block-resize', 'block_resize'],
    ['blockdev-bakcup', 'blockdev-backup'],
    ['blockdev-ba', 'blockdev-backup'],
    ['qurey-block', 'query-block'],
    ['snyc', 'sync'],
    ['non', 'none'],
    ['ful', 'full'],
    ['tpo', 'top'],
  ])('is for %s %s', (typed, meant) => {
    expect(nearestWord(typed, words)).toBe(meant);
  });

  it.each(['', 'x', 'migrate', 'zzzz'])('is none for %j', (typed) => {
    expect(nearestWord(typed, words)).toBeUndefined();
    expect(didYouMean(typed, words)).toBe('');
  });

  it('is told as a question', () => {
    expect(didYouMean('stpo', words)).toBe("did you mean 'stop'?");
  });

  it('is never the word itself', () => {
    expect(nearestWord('stop', ['stop'])).toBeUndefined();
  });
});
