/* The word that somebody may have meant: one measure for commands, arguments, options and values of all programs. Pure. */

/** Of `words` the one nearest to `typed`; undefined when none is near. */
export function nearestWord(typed: string, words: Iterable<string>): string | undefined {
  const wanted = plain(typed);
  if (wanted === '') return undefined;
  let best: string | undefined;
  // one slip in a short word, a third of a long one
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 0.5;
  for (const word of words) {
    if (word === typed) continue;
    const distance = distanceOf(wanted, plain(word));
    if (distance >= bestDistance) continue;
    best = word;
    bestDistance = distance;
  }
  return best;
}

/** `did you mean 'x'?`, or '' when no word is near. */
export function didYouMean(typed: string, words: Iterable<string>): string {
  const word = nearestWord(typed, words);
  return word === undefined ? '' : `did you mean '${word}'?`;
}

/** More words than this are a wall of text. */
const maxWords = 16;

/** The same for a value out of a set: without a near word the set, unless it is large. */
export function meantValue(typed: string, words: readonly string[]): string {
  return didYouMean(typed, words) || (words.length > 0 && words.length <= maxWords ? `it is one of ${words.join(', ')}` : '');
}

/** Spellings that differ in nothing but case and the kind of hyphen are the same word. */
function plain(word: string): string {
  return word.toLowerCase().replaceAll('_', '-');
}

/** How many letters are changed, left out, added, or swapped with their neighbour; an unfinished word is nearer than its letters say. */
function distanceOf(a: string, b: string): number {
  if (a === b) return 0;
  if (a.length >= 3 && b.startsWith(a)) return 1 + (b.length - a.length) / 100;
  let before: number[] = [];
  let last: number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const line = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      let cost = Math.min((line[column - 1] ?? 0) + 1, (last[column] ?? 0) + 1, (last[column - 1] ?? 0) + (isSame ? 0 : 1));
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      line.push(cost);
    }
    before = last;
    last = line;
  }
  return last[b.length] ?? Number.POSITIVE_INFINITY;
}
