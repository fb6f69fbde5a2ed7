/*
 * Encrypted images that go to and fro: made by one side, written, resized and given other passphrases by either, and read by
 * both after each step. Seeded: the format, ciphers, clusters and the order of steps.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeWithPeers, peer } from '../support/peers.ts';
import { type Random, seeded } from '../support/random.ts';
import { builtProgram } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

const kib = 1024;
const passwords = ['first', 'second', 'third', 'fourth'] as const;
const objects = passwords.flatMap((data) => ['--object', `secret,id=${data},data=${data}`]);

type Side = 'peer' | 'ours';

/** Runs the image program of one side. */
function img(side: Side, folder: TempFolder, ...args: string[]): string {
  const [file, first] = side === 'peer' ? [peer('qemu-img'), []] : [process.execPath, [builtProgram('tsimg')]];
  return execFileSync(file, [...first, ...args], { cwd: folder.path, encoding: 'utf8', stdio: 'pipe' });
}

interface Kind {
  readonly format: 'luks' | 'qcow2';
  readonly options: string;
  /** Its key slots can be changed. */
  readonly hasSlots: boolean;
}

function pick<T>(random: Random, list: readonly T[]): T {
  const found = list[random(list.length)];
  if (found === undefined) throw new Error('an empty list');
  return found;
}

function randomKind(random: Random): Kind {
  const ciphers = [
    'cipher-alg=aes-256',
    'cipher-alg=aes-128',
    'cipher-alg=aes-192',
    'cipher-mode=cbc',
    'cipher-mode=cbc,P.ivgen-alg=essiv',
    'cipher-mode=ctr',
    'ivgen-alg=plain',
  ];
  const cipher = `${pick(random, ciphers)},P.hash-alg=${pick(random, ['sha256', 'sha1', 'sha512', 'ripemd160', 'sm3'])},P.iter-time=1`;
  const plain = `key-secret=first,${cipher}`.replaceAll('P.', '');
  if (random(3) === 0) return { format: 'luks', options: plain, hasSlots: true };
  const clusters = `cluster_size=${pick(random, ['512', '4k', '64k', '2M'])},${pick(random, ['compat=1.1', 'compat=0.10', 'lazy_refcounts=on'])}`;
  if (random(4) === 0) return { format: 'qcow2', options: `encrypt.format=aes,encrypt.key-secret=first,${clusters}`, hasSlots: false };
  return {
    format: 'qcow2',
    options: `encrypt.format=luks,encrypt.key-secret=first,encrypt.${cipher.replaceAll('P.', 'encrypt.')},${clusters}`,
    hasSlots: true,
  };
}

function named(kind: Kind, password: string): string {
  const prefix = kind.format === 'luks' ? '' : 'encrypt.';
  return `driver=${kind.format},file.filename=image,${prefix}key-secret=${password}`;
}

const seeds = Array.from({ length: 14 }, (_, index) => index + 1);

describeWithPeers(['qemu-img', 'qemu-io'], 'encrypted images go to and fro', () => {
  it.each(seeds)('history %i', (seed) => {
    const random = seeded(seed * 7919);
    using folder = tempFolder('luks-exchange');
    const kind = randomKind(random);
    const either = (): Side => (random(2) === 0 ? 'peer' : 'ours');
    const told: string[] = [`${kind.format} ${kind.options}`];
    let size = 2048 * kib;
    let valid: string[] = ['first'];
    let content = Buffer.alloc(size);
    const maker = either();
    img(maker, folder, 'create', '-q', ...objects, '-f', kind.format, '-o', kind.options, 'image', String(size));
    told.push(`made by ${maker}`);
    const fill = (side: Side): void => {
      content = Buffer.alloc(size);
      for (let count = 0; count < 6; count++) {
        const at = random(size / 512) * 512;
        content.fill(1 + random(255), at, Math.min(size, at + (1 + random(200)) * 512));
      }
      writeFileSync(folder.file('raw'), content);
      img(side, folder, 'convert', '-n', ...objects, '-f', 'raw', 'raw', '--target-image-opts', named(kind, pick(random, valid)));
    };
    const prefix = kind.format === 'luks' ? '' : 'encrypt.';
    const amend = (side: Side): void => {
      const isAdding = valid.length < 3 || random(2) === 0;
      const password = isAdding ? passwords.find((candidate) => !valid.includes(candidate)) : valid[1];
      if (password === undefined) return;
      const what = isAdding
        ? `${prefix}state=active,${prefix}new-secret=${password},${prefix}iter-time=1`
        : `${prefix}state=inactive,${prefix}old-secret=${password}`;
      img(
        side,
        folder,
        'amend',
        ...objects,
        '-o',
        what,
        '--image-opts',
        named(kind, pick(random, isAdding ? valid : valid.filter((other) => other !== password))),
      );
      valid = isAdding ? [...valid, password] : valid.filter((other) => other !== password);
    };
    const resize = (side: Side): void => {
      const grown = size + (1 + random(64)) * 16 * kib;
      img(side, folder, 'resize', '-q', ...objects, '--image-opts', named(kind, pick(random, valid)), String(grown));
      // what luks shows behind its old end is noise
      if (kind.format === 'qcow2') content = Buffer.concat([content, Buffer.alloc(grown - size)]);
      size = grown;
      if (kind.format === 'luks') fill(side);
    };
    fill(either());
    for (let step = 0; step < 3; step++) {
      const side = either();
      const action = pick(random, kind.hasSlots ? [fill, amend, amend, resize] : [fill, resize]);
      told.push(`${side} ${action.name}`);
      action(side);
      for (const reader of ['peer', 'ours'] as const) {
        const password = pick(random, valid);
        img(reader, folder, 'convert', ...objects, '--image-opts', named(kind, password), '-O', 'raw', `read-${reader}`);
        expect(Buffer.compare(readFileSync(folder.file(`read-${reader}`)), content), `${told.join('; ')}: read by ${reader}`).toBe(0);
        if (kind.format === 'qcow2') img(reader, folder, 'check', '-q', ...objects, '--image-opts', named(kind, password));
      }
      const wrong = passwords.find((candidate) => !valid.includes(candidate));
      if (wrong === undefined || !kind.hasSlots) continue;
      for (const reader of ['peer', 'ours'] as const) {
        expect(() => img(reader, folder, 'map', ...objects, '--image-opts', named(kind, wrong))).toThrow('Invalid password, cannot unlock any keyslot');
      }
    }
  });
});
