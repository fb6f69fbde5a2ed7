/*
 * Random histories of command lines, in two folders: by the peer in the one, by us (started as qemu-img) in the other. Each
 * line must say the same and end the same; what is there at the end must be the same images.
 */
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { builtProgram, runSync } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';
import { imgHistory, type Line } from './img-histories.ts';

const histories = 6;
const lines = 20;

/** What is on the medium is the file system's affair, and so is a hole in the file of an image. */
function normalise(text: string): string {
  return text
    .replace(/disk size: .*/g, 'disk size: N')
    .replace(/"actual-size": \d+/g, '"actual-size": N')
    .replace(/, "offset": \d+/g, '');
}

class Side {
  readonly folder: string;
  readonly #program: readonly string[];

  constructor(folder: string, program: readonly string[]) {
    this.folder = folder;
    this.#program = program;
  }

  say(line: Line, format: string | undefined): string {
    const [program, ...words] = line;
    const [file = '', ...args] = program === 'io' ? [peer('qemu-io'), '-f', format ?? 'raw', ...words.slice(1), words[0] ?? ''] : [...this.#program, ...words];
    const { code, stdout, stderr } = runSync(file, args, { cwd: this.folder });
    // what qemu-io says has times in it
    return program === 'io' ? '' : normalise(`exit ${code}\n${stdout}${stderr}`);
  }

  /** The images as the peer sees them. */
  state(): string {
    const ask = (...args: string[]): string => {
      const { code, stdout } = runSync(peer('qemu-img'), args, { cwd: this.folder });
      return normalise(`${args.join(' ')}: exit ${code}\n${stdout}`);
    };
    const names = readdirSync(this.folder).sort();
    return names.map((name) => `${name}\n${ask('info', '--output=json', name)}${ask('map', '--output=json', name)}${ask('check', '-q', name)}`).join('');
  }
}

function formatOf(side: Side, file: string): string | undefined {
  return /"format": "(raw|qcow2)",\n {4}"actual/.exec(runSync(peer('qemu-img'), ['info', '--output=json', file], { cwd: side.folder }).stdout)?.[1];
}

describeWithPeers(['qemu-img', 'qemu-io'], 'random histories of command lines', () => {
  it.each(Array.from({ length: histories }, (_, index) => index + 1))('seed %d', (seed) => {
    using folder: TempFolder = tempFolder('img-history');
    const link = folder.file('qemu-img');
    symlinkSync(resolve(builtProgram('tsimg')), link);
    // names of one length: they end up in messages
    for (const name of ['peer', 'ours']) mkdirSync(folder.file(name));
    const theirs = new Side(folder.file('peer'), [peer('qemu-img')]);
    const ours = new Side(folder.file('ours'), [process.execPath, link]);
    const said: string[] = [];
    for (const line of imgHistory(seed, lines)) {
      const format = line[0] === 'io' ? formatOf(theirs, line[1] ?? '') : undefined;
      said.push(line.join(' '));
      const past = said.slice(-10).join('\n');
      expect(`${past}\n${ours.say(line, format)}`).toBe(`${past}\n${theirs.say(line, format)}`);
    }
    expect(ours.state()).toBe(theirs.state());
    for (const name of readdirSync(theirs.folder)) {
      const { code, stdout } = runSync(peer('qemu-img'), ['compare', `peer/${name}`, `ours/${name}`], { cwd: folder.path });
      // an image whose backing file is gone has no content
      if (code !== 2) expect(`${name}: ${stdout}`).toContain('Images are identical.');
    }
  });
});
