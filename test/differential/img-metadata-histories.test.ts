/*
 * Random histories of bitmaps, amends, growth and snapshots on two files, one the peer's and one ours: after each line both
 * say the same, end the same, and hold the same bytes. Half-way the files change hands.
 */
import { closeSync, copyFileSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { expect, it } from 'vitest';
import { main } from '../../src/commands/tsimg.ts';
import { describeWithPeers, peer } from '../support/peers.ts';
import { runSync } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';
import { type MetadataLine, metadataHistory } from './img-metadata-histories.ts';

const histories = Number(process.env['TSIMG_HISTORIES'] ?? 36);
const lines = 16;

function sink(): { write(text: string | Uint8Array): void; text: string } {
  const kept = {
    text: '',
    write: (text: string | Uint8Array) => {
      kept.text += typeof text === 'string' ? text : Buffer.from(text).toString('latin1');
    },
  };
  return kept;
}

/** Sets the times of all snapshots to 0. */
function forgetTimes(file: string): void {
  const fd = openSync(file, 'r+');
  const word = (at: number, bytes: 2 | 4 | 8): number => {
    const field = Buffer.alloc(8);
    readSync(fd, field, 8 - bytes, bytes, at);
    return Number(field.readBigUInt64BE());
  };
  let at = word(64, 8);
  for (let left = word(60, 4); left > 0; left--) {
    writeSync(fd, Buffer.alloc(8), 0, 8, at + 16);
    at = Math.ceil((at + 40 + word(at + 36, 4) + word(at + 12, 2) + word(at + 14, 2)) / 8) * 8;
  }
  closeSync(fd);
}

class Pair {
  readonly #folder: TempFolder;

  constructor(folder: TempFolder, options: string, hasBacking: boolean) {
    this.#folder = folder;
    writeFileSync(folder.file('base'), Buffer.alloc(3 * 1024 * 1024, 0xbb));
    const backing = hasBacking ? ['-b', folder.file('base'), '-F', 'raw'] : [];
    this.#peer(['create', '-q', '-f', 'qcow2', '-o', options, ...backing, 'FILE', '4M'], 'one');
    copyFileSync(folder.file('one'), folder.file('two'));
  }

  #say(code: number | null, stdout: string, stderr: string, file: string): string {
    return `exit ${code}\n${stdout}${stderr}`.replaceAll(this.#folder.file(file), 'FILE').replace(/#block\d+/g, '#block');
  }

  #words(line: readonly string[], file: string): string[] {
    return line.map((word) => (word === 'FILE' ? this.#folder.file(file) : word));
  }

  #peer(line: readonly string[], file: string): string {
    const { code, stdout, stderr } = runSync(peer('qemu-img'), this.#words(line, file));
    return this.#say(code, stdout, stderr, file);
  }

  async #ours(line: readonly string[], file: string): Promise<string> {
    const stdout = sink();
    const stderr = sink();
    const code = await main(this.#words(line, file), 'qemu-img', { stdout, stderr });
    return this.#say(code, stdout.text, stderr.text, file);
  }

  #io(file: string, commands: readonly string[]): void {
    runSync(peer('qemu-io'), ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), this.#folder.file(file)]);
  }

  /** What the peer said of the file that is its own, and we of the other. */
  async run([who, ...line]: MetadataLine, mine: 'one' | 'two'): Promise<{ peer: string; ours: string }> {
    const theirs = mine === 'one' ? 'two' : 'one';
    if (who === 'both' || who === 'timed') {
      const said = { peer: this.#peer(line, theirs), ours: await this.#ours(line, mine) };
      if (who === 'timed') for (const file of ['one', 'two']) forgetTimes(this.#folder.file(file));
      // what failed half-way leaks with the peer, and with it only
      if (who === 'timed' && !said.peer.startsWith('exit 0')) copyFileSync(this.#folder.file(theirs), this.#folder.file(mine));
      return said;
    }
    if (who === 'io') for (const file of ['one', 'two']) this.#io(file, line);
    else {
      // times in it, or a writer that ends anywhere: one file for both
      if (who === 'kill') this.#io('one', [...line, 'sigraise 9']);
      else this.#peer(line, 'one');
      copyFileSync(this.#folder.file('one'), this.#folder.file('two'));
    }
    return { peer: '', ours: '' };
  }

  get isSame(): boolean {
    return readFileSync(this.#folder.file('one')).equals(readFileSync(this.#folder.file('two')));
  }
}

describeWithPeers(['qemu-img', 'qemu-io'], 'random histories of metadata', () => {
  it.each(Array.from({ length: histories }, (_, index) => index + 1))('seed %d', async (seed) => {
    using folder: TempFolder = tempFolder('metadata-history');
    const history = metadataHistory(seed, lines);
    const pair = new Pair(folder, history.options, history.hasBacking);
    const said: string[] = [history.options];
    for (const [index, line] of history.lines.entries()) {
      said.push(line.join(' '));
      const past = said.join('\n');
      const { peer: theirs, ours } = await pair.run(line, index < lines / 2 ? 'two' : 'one');
      expect(`${past}\n${ours}`).toBe(`${past}\n${theirs}`);
      expect(pair.isSame, `${past}\nfiles are the same`).toBe(true);
    }
  });
});
