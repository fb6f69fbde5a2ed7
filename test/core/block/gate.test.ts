/* What an image names itself: only file names where files are meant, the header's format first, loops and depth bounded, one policy. */
import { linkSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { ImplicitOpen, OpenPolicy } from '../../../src/core/block/gate.ts';
import { combineFilename, mergeOptions, type OptionTree } from '../../../src/core/block/options.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import { BlockError } from '../../../src/core/util/errors.ts';
import { createImage } from '../../../src/engine/create.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { tempFolder } from '../../support/tmp.ts';

let engine: Engine;
let media: Map<string, MemoryStorage>;
afterEach(() => engine.close());

function start(policy?: OpenPolicy, devices: readonly string[] = []): void {
  media = new Map();
  const open = async (path: string, how: { readonly create: string }): Promise<MemoryStorage> => {
    const found = media.get(path);
    if (found !== undefined) return found;
    if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
    const made = new MemoryStorage(path, { size: 65536 });
    media.set(path, made);
    return made;
  };
  const openStorage = Object.assign(open, { isDevice: (path: string) => devices.includes(path) });
  engine = new Engine({ openStorage, ...(policy === undefined ? {} : { implicitOpen: policy }) });
}

/** A medium whose bytes are all the same letter. */
function letters(path: string, letter: string): void {
  const medium = new MemoryStorage(path);
  medium.write(0, new Uint8Array(65536).fill(letter.charCodeAt(0)));
  media.set(path, medium);
}

/** A qcow2 image whose first bytes of the guest would read as another image. */
async function overlay(path: string, backing: string, format: string | undefined): Promise<void> {
  await createImage(engine, 'qcow2', path, { size: 65536, backing_file: backing, ...(format === undefined ? {} : { backing_fmt: format }) });
}

async function firstByte(options: OptionTree): Promise<string> {
  const node = await engine.addNode({ 'node-name': 'n', ...options });
  const into = new Uint8Array(1);
  await node.state.read(0, into, 0);
  return String.fromCharCode(into[0] ?? 0);
}

async function told(options: OptionTree): Promise<string> {
  return firstByte(options).then(
    (letter) => `read ${letter}`,
    (error: unknown) => {
      // whoever hears of it can tell what it is without the words
      expect(error).toMatchObject({ code: expect.stringMatching(/^E[A-Z_]+$/) });
      return (error as Error).message;
    },
  );
}

const image: OptionTree = { driver: 'qcow2', file: { driver: 'file', filename: 'top' } };

describe('the backing file that an image names', () => {
  const inJson = (driver?: string): string =>
    `json:${JSON.stringify({ ...(driver === undefined ? {} : { driver }), file: { driver: 'file', filename: 'guest' } })}`;

  async function stage(): Promise<void> {
    start();
    letters('secret', 'S');
    // what a guest wrote onto its raw disk: an image that names a file of the host
    await overlay('guest', 'secret', 'raw');
  }

  it.each<[what: string, name: string, format: string | undefined, options: OptionTree, expected: string]>([
    ['a format wins over probing of a json: name', inJson(), 'raw', {}, 'Q'],
    ['a format wins over the driver that a json: name carries', inJson('qcow2'), 'raw', {}, 'Q'],
    ['without a format the name decides', inJson('qcow2'), undefined, {}, 'S'],
    ['a format wins where the user only names another file', 'other', 'raw', { backing: { file: { driver: 'file', filename: 'guest' } } }, 'Q'],
    ['options of the user for the file go in beside the name', inJson(), 'raw', { backing: { file: { locking: 'off' } } }, 'Q'],
    ['the user’s driver wins over the format', inJson(), 'raw', { backing: { driver: 'qcow2' } }, 'S'],
    ['plain names keep their format', 'guest', 'raw', {}, 'Q'],
    ['file: is a prefix in a backing name', 'file:guest', 'raw', {}, 'Q'],
  ])('%s', async (_what, name, format, options, expected) => {
    await stage();
    await overlay('top', name, format);
    expect(await told({ ...image, ...options })).toBe(`read ${expected}`);
  });

  it('is a name of its protocol alone where the format is a protocol', async () => {
    start();
    letters('vm-10:00', 'V');
    await overlay('top', 'vm-10:00', 'file');
    expect(await told(image)).toBe('read V');
  });

  it('goes through json: to options that do not fit its format', async () => {
    start();
    letters('plain', 'P');
    await overlay('top', 'json:{"driver":"file","filename":"plain"}', 'raw');
    expect(await told(image)).toBe('Could not open backing file: A block device must be specified for "file"');
  });
});

describe('the data file that an image names', () => {
  /** An image whose header names the data file `name`, of at most the length of the name that it was made with. */
  async function withDataFile(name: string): Promise<void> {
    await createImage(engine, 'qcow2', 'top', { size: 65536, data_file: 'x'.repeat(name.length) });
    const bytes = new Uint8Array(4096);
    media.get('top')?.read(0, bytes);
    const at = Buffer.from(bytes).indexOf('x'.repeat(name.length));
    media.get('top')?.write(at, Buffer.from(name));
  }

  it.each(['json:{"driver":"file","filename":"victim"}', 'file:victim', 'null-co://', 'nbd:localhost:1'])('is no more than a name: %s', async (name) => {
    start();
    letters('victim', 'V');
    await withDataFile(name);
    expect(await told(image)).toBe(`Could not open '${name}': No such file or directory`);
    letters(name, 'D');
    expect(await told(image)).toBe('read \0');
    expect(engine.graph.find('n')?.child('data-file')?.node.openOptions).toEqual({ driver: 'file', filename: name });
  });

  it('may be a device', async () => {
    start(undefined, ['/dev/that']);
    await withDataFile('/dev/that');
    expect(await told(image)).toBe("Could not open '/dev/that': No such file or directory");
  });
});

describe('the policy', () => {
  it('is asked for each name, with what it stands for, and can refuse', async () => {
    const asked: ImplicitOpen[] = [];
    let isAllowed = true;
    start((request) => {
      asked.push(request);
      return Promise.resolve(isAllowed);
    });
    letters('base', 'B');
    await overlay('middle', 'json:{"driver":"raw","file":{"driver":"file","filename":"base"}}', undefined);
    await overlay('top', 'middle', 'qcow2');
    asked.splice(0);
    expect(await told(image)).toBe('read B');
    expect(asked).toEqual([
      { kind: 'backing', image: 'top', name: 'middle', format: 'qcow2', options: { driver: 'qcow2', file: { driver: 'file', filename: 'middle' } } },
      {
        kind: 'backing',
        image: 'middle',
        name: 'json:{"driver":"raw","file":{"driver":"file","filename":"base"}}',
        format: undefined,
        options: { driver: 'raw', file: { driver: 'file', filename: 'base' } },
      },
    ]);
    isAllowed = false;
    const node = engine.graph.find('n');
    if (node !== undefined) node.monitorOwned = false;
    if (node !== undefined) await engine.graph.releaseUnused(node);
    expect(await told(image)).toBe("Could not open backing file: Opening 'middle' is not allowed, which the image 'top' names");
    // what the user names is no affair of the policy
    expect(await told({ ...image, backing: { driver: 'raw', file: { driver: 'file', filename: 'base' } } })).toBe('read B');
  });

  it('is asked for data files', async () => {
    const kinds: string[] = [];
    start((request) => {
      kinds.push(`${request.kind} ${request.name}`);
      return false;
    });
    await createImage(engine, 'qcow2', 'top', { size: 65536, data_file: 'data' }).catch(() => {});
    kinds.splice(0);
    expect(await told(image)).toBe("Opening 'data' is not allowed, which the image 'top' names");
    expect(kinds).toEqual(['data-file data']);
  });
});

describe('names that lead back', () => {
  it.each([
    ['to the image itself', 'top'],
    ['by another name', './top'],
    ['through json:', 'json:{"driver":"qcow2","file":{"driver":"file","filename":"top"}}'],
    ['through a format below a format', 'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"top"}}}'],
    ['into a window of it', 'json:{"driver":"raw","offset":0,"size":512,"file":{"driver":"file","filename":"top"}}'],
    ['by a symbolic link', 'symbolic'],
    ['by a hard link', 'hard'],
  ])('are told as a loop: %s', async (_what, name) => {
    using folder = tempFolder();
    engine = new Engine();
    const inFolder = name.replace('"top"', JSON.stringify(folder.file('top')));
    writeFileSync(folder.file('base'), new Uint8Array(65536));
    await createImage(engine, 'qcow2', folder.file('top'), { size: 65536, backing_file: 'base', backing_fmt: 'raw' });
    const bytes = readFileSync(folder.file('top'));
    const offset = Number(bytes.readBigUInt64BE(8));
    bytes.write(inFolder, offset);
    bytes.writeUInt32BE(inFolder.length, 16);
    // the format that the header names goes as well: its extension becomes one that is not known
    bytes.writeUInt32BE(0x12345678, bytes.indexOf(Buffer.from('e2792aca', 'hex')));
    writeFileSync(folder.file('top'), bytes);
    symlinkSync('top', folder.file('symbolic'));
    linkSync(folder.file('top'), folder.file('hard'));
    await expect(engine.openBackend({ filename: folder.file('top'), format: 'qcow2' })).rejects.toThrow(`Backing file '${inFolder}' creates an infinite loop.`);
    expect([...engine.graph.nodes]).toEqual([]);
  });
});

describe('names and options', () => {
  it.each([
    ['top', 'base', 'base'],
    ['dir/top', 'base', 'dir/base'],
    ['dir/top', '/base', '/base'],
    ['dir/top', 'file:base', 'file:base'],
    ['dir/top', './a:b', 'dir/./a:b'],
    ['x:y', 'base', 'x:base'],
    ['a:b/top', 'base', 'a:b/base'],
    ['./a:b', 'base', './base'],
    ['dir/top', '', ''],
  ])('a backing name as seen from %s: %s', (from, name, expected) => {
    expect(combineFilename(from, name)).toBe(expected);
  });

  it('are laid over each other member by member', () => {
    expect(mergeOptions({ a: 1, file: { driver: 'file', filename: 'x' } }, { b: 2, file: { filename: 'y', locking: 'off' } })).toEqual({
      a: 1,
      b: 2,
      file: { driver: 'file', filename: 'y', locking: 'off' },
    });
    expect(mergeOptions({ file: 'node' }, { file: { filename: 'y' } })).toEqual({ file: { filename: 'y' } });
  });

  it.each(['file:x', 'json:{}', 'vm-10:00', 'null-co://'])('a name given as an option is literal: %s', async (filename) => {
    start();
    letters(filename, 'L');
    expect(await told({ driver: 'raw', file: { filename } })).toBe('read L');
    expect(engine.graph.find('n')?.child('file')?.node.driver.name).toBe('file');
  });
});
