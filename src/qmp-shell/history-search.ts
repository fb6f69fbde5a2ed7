/* Ctrl-R: the newest earlier line that holds what is typed, then older ones. Pure state: the terminal is the shell's. */

export type SearchStep =
  /** The search goes on. */
  | { readonly kind: 'search' }
  /** The line found is taken; the key that ended the search is still to be carried out, unless it is ''. */
  | { readonly kind: 'take'; readonly line: string; readonly key: string }
  | { readonly kind: 'cancel' };

const ctrlC = '\u0003';
const ctrlG = '\u0007';
const ctrlR = '\u0012';
const escapeKey = '\u001b';
const backspaces = ['\u007f', '\b'];

export class HistorySearch {
  readonly #newestFirst: readonly string[];
  /** The line that stood there before. */
  readonly #before: string;
  #text = '';
  #at = -1;
  #isFailing = false;

  constructor(newestFirst: readonly string[], before: string) {
    this.#newestFirst = newestFirst;
    this.#before = before;
  }

  key(key: string): SearchStep {
    if (key === ctrlC || key === ctrlG) return { kind: 'cancel' };
    if (key === ctrlR) {
      if (this.#text !== '') this.#find(this.#at + 1);
    } else if (backspaces.includes(key)) {
      this.#text = [...this.#text].slice(0, -1).join('');
      this.#find(0);
    } else if (key < ' ' || key.startsWith(escapeKey)) {
      return { kind: 'take', line: this.#line, key: key === escapeKey ? '' : key };
    } else {
      this.#text += key;
      this.#find(Math.max(0, this.#at));
    }
    return { kind: 'search' };
  }

  /** What stands in place of the prompt. */
  get prompt(): string {
    return `(${this.#isFailing ? 'failing ' : ''}reverse-i-search)'${this.#text}': ${this.#line}`;
  }

  get #line(): string {
    return this.#newestFirst[this.#at] ?? this.#before;
  }

  #find(from: number): void {
    if (this.#text === '') {
      this.#at = -1;
      this.#isFailing = false;
      return;
    }
    const found = this.#newestFirst.findIndex((line, index) => index >= from && line.includes(this.#text));
    this.#isFailing = found < 0;
    if (found >= 0) this.#at = found;
  }
}
