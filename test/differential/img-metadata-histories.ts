/*
 * Random but repeatable histories of what changes an image's metadata: bitmaps, amends, growth, snapshots, among writes and
 * writers that are killed. The same seed gives the same history. Data only. Left out is what is accepted to differ
 * (docs/accepted-differences.md): shrinking, and version 2 for images with snapshots.
 */
import { type Random, seeded } from '../support/random.ts';

/**
 * `both`: by either program on its own file; `timed`: the same, and the times of snapshots are set to one; `peer`: by the peer,
 * and the files are the same after it; `io`: by qemu-io on both.
 */
export type MetadataLine = readonly [who: 'both' | 'timed' | 'peer' | 'io' | 'kill', ...words: string[]];

export interface MetadataHistory {
  /** Options of the image, and whether it has a backing file. */
  readonly options: string;
  readonly hasBacking: boolean;
  readonly lines: readonly MetadataLine[];
}

const layouts = [
  'cluster_size=512',
  'cluster_size=512,refcount_bits=64',
  'cluster_size=4k',
  'cluster_size=4k,refcount_bits=1',
  'cluster_size=64k',
  'cluster_size=64k,lazy_refcounts=on',
  'cluster_size=16k,extended_l2=on',
  'cluster_size=2M',
  'compat=0.10,cluster_size=4k',
];

class Lines {
  readonly #random: Random;
  /** The peer counts every cluster that a refcount table has room for: with large clusters for minutes. */
  readonly #hasWidths: boolean;
  #snapshots = 0;
  /** A disk goes back by another table: docs/accepted-differences.md. */
  #hasOwnWay: boolean;

  constructor(random: Random, hasWidths: boolean, hasLongL1: boolean) {
    this.#random = random;
    this.#hasWidths = hasWidths;
    this.#hasOwnWay = hasLongL1;
  }

  #one(words: string): string {
    const choices = words.split(' ');
    return choices[this.#random(choices.length)] ?? '';
  }

  #bitmap(): MetadataLine {
    const words: string[] = [];
    for (let left = 1 + this.#random(3); left > 0; left--) {
      const verb = this.#one('add add add remove clear enable disable merge merge');
      words.push(`--${verb}`, ...(verb === 'merge' ? [this.#one('a b c d')] : []));
    }
    if (words.includes('--add') && this.#random(2) === 0) words.push('-g', this.#one('512 4k 64k 1M 3 2G'));
    return ['both', 'bitmap', ...words, 'FILE', this.#one('a b c d')];
  }

  #amend(): MetadataLine {
    const options: string[] = [];
    const versions = this.#snapshots > 0 ? '1.1 v3' : '0.10 v2 1.1 v3 9';
    if (this.#random(2) === 0) options.push(`compat=${this.#one(versions)}`);
    if (this.#hasWidths && this.#random(2) === 0) options.push(`refcount_bits=${this.#one('1 2 8 16 16 16 32 64 3')}`);
    if (this.#random(3) === 0) options.push(`lazy_refcounts=${this.#one('on off off')}`);
    if (options.length === 0 || this.#random(6) === 0) options.push(`data_file_raw=${this.#one('off on')}`);
    return ['both', 'amend', '-p', '-o', options.join(','), 'FILE'];
  }

  #writes(): string[] {
    return Array.from({ length: 1 + this.#random(3) }, () => {
      const verb = this.#one('write write write write-z write-zu discard').replace('-', ' -');
      const unit = [512, 4096, 65536][this.#random(3)] ?? 512;
      return `${verb}${verb === 'write' ? ` -P ${1 + this.#random(250)}` : ''} ${this.#random(Math.floor(4194304 / unit)) * unit} ${(1 + this.#random(9)) * 512}`;
    });
  }

  #snapshot(): MetadataLine {
    const name = `s${1 + this.#random(this.#snapshots + 1)}`;
    switch (this.#random(5)) {
      case 0:
        return [this.#hasOwnWay ? 'peer' : 'both', 'snapshot', '-a', name, 'FILE'];
      case 1:
        return ['both', 'snapshot', '-d', name, 'FILE'];
      default:
        this.#snapshots++;
        // counts may have no room: the peer leaks then
        return ['timed', 'snapshot', '-c', `s${this.#snapshots}`, 'FILE'];
    }
  }

  next(): MetadataLine {
    switch (this.#random(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return this.#bitmap();
      case 4:
      case 5:
        return this.#amend();
      case 6:
        this.#hasOwnWay = true;
        return ['both', 'resize', '-f', 'qcow2', 'FILE', `+${this.#one('512 64k 1M')}`];
      case 7:
        return this.#random(4) === 0 ? ['both', 'bitmap', '--remove-all', 'FILE'] : this.#bitmap();
      case 8:
      case 14:
      case 15:
        return this.#snapshot();
      case 9:
        return ['both', 'check', this.#one('-q --output=json'), 'FILE'];
      case 10:
        return ['kill', ...this.#writes()];
      default:
        return ['io', ...this.#writes()];
    }
  }
}

export function metadataHistory(seed: number, length: number): MetadataHistory {
  const random = seeded(seed);
  const options = layouts[seed % layouts.length] ?? '';
  const lines = new Lines(random, /=(512|4k)/.test(options), options.includes('=512'));
  return {
    options,
    hasBacking: random(3) === 0,
    lines: Array.from({ length }, () => lines.next()),
  };
}
