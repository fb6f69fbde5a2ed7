/*
 * Random but repeatable histories of command lines over a handful of images: created, written by qemu-io, resized,
 * converted, compared, checked, right and wrong. The same seed gives the same history. Data only; what a line leaves out is
 * what the file system decides (the holes of qcow2 files), and shrinking (docs/accepted-differences.md).
 */
import { type Random, seeded } from '../support/random.ts';

/** Words of a line: the first is `img` or `io`, after it the words of qemu-img or of qemu-io (without its format). */
export type Line = readonly [program: 'img' | 'io', ...words: string[]];

const beginnings: readonly Line[] = [
  ['img', 'create', '-f', 'qcow2', 'a', '4M'],
  ['img', 'create', '-f', 'raw', 'b', '4M'],
  ['img', 'create', '-f', 'qcow2', '-b', 'a', '-F', 'qcow2', 'c'],
  ['img', 'create', '-f', 'raw', 'd', '3000000'],
  ['img', 'create', '-f', 'qcow2', '-o', 'cluster_size=4096,compat=0.10', 'e', '10M'],
  ['io', 'a', '-c', 'write -P 1 65536 200000'],
  ['io', 'd', '-c', 'write -P 2 0 1M'],
  ['io', 'e', '-c', 'write -P 3 5M 70000'],
];

class Lines {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = seeded(seed);
  }

  #one(words: string): string {
    const choices = words.split(' ');
    return choices[this.#random(choices.length)] ?? '';
  }

  #maybe(percent: number, words: () => readonly string[]): readonly string[] {
    return this.#random(100) < percent ? words() : [];
  }

  #file(): string {
    return this.#random(60) === 0 ? 'nosuch' : this.#one('a b c d e');
  }

  #size(): string {
    return this.#one(this.#random(3) === 0 ? '0 1 511 512 1000 64k 65537 1M 1.5M 4M 1T -1 x 1z 9E 0x10000 1e6' : '512 64k 65536 1M 1.5M 4M 5M 3000320 10M 64M');
  }

  #format(option: string, percent = 35): readonly string[] {
    return this.#maybe(percent, () => [option, this.#one('raw qcow2 qcow2 qcow2 qcow2 qcow2 qcow2 qcow2 foo')]);
  }

  #creation(): readonly string[] {
    const scale = this.#random(2) === 0 ? 1 : 0.4;
    const options: string[] = [];
    const add = (percent: number, name: string, values: string): void => {
      if (this.#random(100) < percent * scale) options.push(`${name}=${this.#one(values)}`);
    };
    add(30, 'cluster_size', '512 1k 4096 64k 65536 2M 1M 4M 1000 256');
    add(20, 'compat', '0.10 1.1 v2 v3 1.2');
    add(15, 'lazy_refcounts', 'on off maybe');
    add(15, 'refcount_bits', '1 2 8 16 32 64 3 128');
    add(25, 'preallocation', 'off metadata x');
    add(12, 'extended_l2', 'on off');
    add(5, 'compression_type', 'zlib zstd lz');
    add(8, 'size', '512 1M 5M');
    add(6, 'backing_file', 'a b c nosuch');
    add(6, 'backing_fmt', 'qcow2 raw vdx');
    add(3, 'nocow', 'on off 2');
    add(2, 'foo', 'bar');
    return options.length === 0 ? [] : ['-o', options.join(',')];
  }

  #io(): Line {
    const commands = Array.from({ length: 1 + this.#random(3) }, () => {
      const verb = this.#one('write write write write-z write-zu discard').replace('-', ' -');
      const pattern = verb === 'write' ? ` -P ${1 + this.#random(9)}` : '';
      const offset = this.#random(2) === 0 ? 65536 * this.#random(64) : 512 * this.#random(3000);
      return ['-c', `${verb}${pattern} ${offset} ${this.#one('512 4096 65536 100352 1048576 32768')}`];
    });
    return ['io', this.#one('a b c d e'), ...commands.flat()];
  }

  next(): Line {
    const output = (words: string): readonly string[] => this.#maybe(50, () => [`--output=${this.#one(words)}`]);
    const quiet = this.#maybe(10, () => ['-q']);
    switch (this.#random(24)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return [
          'img',
          'create',
          ...quiet,
          ...this.#maybe(80, () => ['-f', this.#one('qcow2 qcow2 raw qcow2 qcow2 foo')]),
          ...this.#creation(),
          ...this.#maybe(25, () => ['-b', this.#file()]),
          ...this.#maybe(25, () => ['-F', this.#one('qcow2 raw foo')]),
          ...this.#maybe(8, () => ['-u']),
          this.#file(),
          ...this.#maybe(85, () => [this.#size()]),
        ];
      case 4:
      case 5:
      case 6:
      case 7:
        return this.#io();
      case 8:
      case 9:
        return [
          'img',
          'resize',
          ...quiet,
          ...this.#format('-f', 80),
          ...this.#maybe(25, () => [`--preallocation=${this.#one('off metadata zz')}`]),
          this.#file(),
          `${this.#one('+ + -')}${this.#size()}`,
        ];
      case 10:
      case 11:
      case 12:
      case 13:
        return [
          'img',
          'convert',
          ...quiet,
          ...this.#format('-f'),
          ...this.#maybe(85, () => ['-O', this.#one('qcow2 qcow2 raw qcow2 foo')]),
          ...this.#creation(),
          ...this.#maybe(20, () => ['-S', this.#one('0 4k 64k 512 1M 100 2M')]),
          ...this.#maybe(15, () => ['-n']),
          ...this.#maybe(6, () => ['--target-is-zero']),
          ...this.#maybe(15, () => ['-B', this.#file()]),
          ...this.#maybe(12, () => ['-F', this.#one('qcow2 raw')]),
          ...this.#maybe(5, () => ['-m', this.#one('1 16 17 0')]),
          ...this.#maybe(5, () => ['-t', this.#one('none writeback unsafe foo')]),
          ...this.#maybe(5, () => ['--salvage']),
          this.#file(),
          ...this.#maybe(12, () => [this.#file()]),
          this.#file(),
        ];
      case 14:
      case 15:
        return ['img', 'compare', ...quiet, ...this.#format('-f'), ...this.#format('-F'), ...this.#maybe(20, () => ['-s']), this.#file(), this.#file()];
      case 16:
      case 17:
        return [
          'img',
          'map',
          ...output('json human xml'),
          ...this.#maybe(15, () => ['-s', this.#size()]),
          ...this.#maybe(15, () => ['-l', this.#size()]),
          this.#file(),
        ];
      case 18:
      case 19:
      case 20:
        return [
          'img',
          'info',
          ...this.#format('-f'),
          ...output('json human xml'),
          ...this.#maybe(30, () => ['--backing-chain']),
          ...this.#maybe(10, () => ['--limits']),
          this.#file(),
        ];
      case 21:
      case 22:
        return [
          'img',
          'check',
          ...quiet,
          ...this.#format('-f'),
          ...output('json human'),
          ...this.#maybe(30, () => ['-r', this.#one('leaks all x')]),
          this.#file(),
        ];
      default:
        return ['img', 'snapshot', ...this.#maybe(90, () => ['-l']), ...quiet, ...this.#format('-f'), this.#file()];
    }
  }
}

/** The history of `seed`: the images that all histories begin with, and `length` lines. */
export function imgHistory(seed: number, length: number): Line[] {
  const lines = new Lines(seed);
  return [...beginnings, ...Array.from({ length }, () => lines.next())];
}
