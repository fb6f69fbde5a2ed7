/* Compiled code between runs: what counts as kept, and what a program does with a folder that cannot be trusted. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CodeCache, shippedCache, userCache, userFolder } from '../../src/launch/code-cache.ts';
import { Loader } from '../../src/launch/launch.ts';
import { builtProgram } from '../support/run.ts';
import { type TempFolder, tempFolder } from '../support/tmp.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder('code-cache');
});
afterEach(() => folder[Symbol.dispose]());

describe('the folder of a user', () => {
  it('is made below XDG_CACHE_HOME, else below the home folder, for this user alone', () => {
    const base = folder.file('cache');
    const given = userFolder('abc', { XDG_CACHE_HOME: base, HOME: folder.path });
    expect(given).toMatch(new RegExp(`^${base}/tsimg/node-v.*-abc$`));
    expect(statSync(given ?? '').mode & 0o777).toBe(0o700);
    expect(userFolder('abc', { XDG_CACHE_HOME: 'relative', HOME: folder.path })).toMatch(new RegExp(`^${folder.path}/\\.cache/tsimg/`));
    expect(userFolder('other', { XDG_CACHE_HOME: base })).not.toBe(given);
  });

  it.each([
    ['others may write to the cache folder', () => chmodSync(folder.file('cache'), 0o777)],
    ['a group may write to ours', () => chmodSync(folder.file('cache/tsimg'), 0o770)],
    [
      'ours is a file',
      () => {
        rmSync(folder.file('cache/tsimg'), { recursive: true });
        writeFileSync(folder.file('cache/tsimg'), '');
      },
    ],
    [
      'ours is a link',
      () => {
        rmSync(folder.file('cache/tsimg'), { recursive: true });
        mkdirSync(folder.file('else'));
        symlinkSync(folder.file('else'), folder.file('cache/tsimg'));
      },
    ],
  ])('is none when %s', (_, spoil) => {
    const env = { XDG_CACHE_HOME: folder.file('cache') };
    expect(userFolder('abc', env)).toBeDefined();
    spoil();
    expect(userFolder('abc', env)).toBeUndefined();
  });

  it('is none without a home, or where nothing can be made', () => {
    expect(userFolder('abc', {})).toBeUndefined();
    expect(userFolder('abc', { HOME: folder.file('absent') })).toBeUndefined();
  });
});

describe('what is kept', () => {
  const code = Buffer.from(Uint8Array.from({ length: 4099 }, (_, at) => (at * 7) & 0xff));
  const keep = (): { cache: CodeCache; path: string } => {
    const cache = userCache(folder.path);
    cache.keep?.('/dist/chunks/a.cjs', code);
    return { cache, path: folder.file('a.cjs') };
  };

  it('is found again, by the name of the file', () => {
    const { cache, path } = keep();
    expect(cache.find('/dist/chunks/a.cjs')?.equals(code)).toBe(true);
    expect(cache.find('/dist/chunks/b.cjs')).toBeUndefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path)).toEqual(['a.cjs']);
  });

  it('does not count when it was cut off, at any length', () => {
    const { cache, path } = keep();
    const whole = readFileSync(path);
    for (const length of [0, 1, 11, 12, 13, 2000, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, length));
      expect(cache.find('a.cjs'), `${length} bytes`).toBeUndefined();
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.of(0)]));
    expect(cache.find('a.cjs')).toBeUndefined();
  });

  it('does not count when a byte has changed, whichever', () => {
    const { cache, path } = keep();
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at += at < 16 ? 1 : 97) {
      const spoilt = Buffer.from(whole);
      spoilt.writeUInt8((spoilt[at] ?? 0) ^ 0x10, at);
      writeFileSync(path, spoilt);
      expect(cache.find('a.cjs'), `byte ${at}`).toBeUndefined();
    }
  });

  it('does not count when somebody else could have written it, or it is a link', () => {
    const { cache, path } = keep();
    chmodSync(path, 0o666);
    expect(cache.find('a.cjs')).toBeUndefined();
    chmodSync(path, 0o600);
    expect(cache.find('a.cjs')).toBeDefined();
    symlinkSync(path, folder.file('b.cjs'));
    expect(cache.find('b.cjs')).toBeUndefined();
  });

  it('is nothing where nothing can be written, and nobody is told', () => {
    const cache = userCache(folder.file('absent'));
    cache.keep?.('a.cjs', code);
    expect(cache.find('a.cjs')).toBeUndefined();
  });
});

describe('the loader', () => {
  const files = (): string => {
    writeFileSync(folder.file('main.cjs'), "const { twice } = require('./twice.cjs'); exports.value = twice(21); exports.path = require('node:path').sep;");
    writeFileSync(folder.file('twice.cjs'), "exports.times = 0; exports.twice = (n) => { exports.times++; return n * 2; }; require('./main.cjs');");
    return folder.file('main.cjs');
  };

  it('loads files that name each other, each once, with a cache and without', () => {
    const main = files();
    const cache = userCache(folder.path);
    const first = new Loader(cache, main);
    expect(first.load(main)).toMatchObject({ value: 42, path: '/' });
    expect(first.load(folder.file('twice.cjs'))).toMatchObject({ times: 1 });
    rmSync(folder.file('cached'), { recursive: true, force: true });
    mkdirSync(folder.file('cached'));
    const kept = userCache(folder.file('cached'));
    const filling = new Loader(kept, main);
    filling.load(main);
    filling.keepCode();
    expect(readdirSync(folder.file('cached')).sort()).toEqual(['main.cjs', 'twice.cjs']);
    let asked = 0;
    const counting: CodeCache = {
      find: (file) => {
        asked++;
        return kept.find(file);
      },
      keep: () => expect.fail('nothing was to be compiled'),
    };
    const again = new Loader(counting, main);
    expect(again.load(main)).toMatchObject({ value: 42 });
    again.keepCode();
    expect(asked).toBe(2);
  });

  it('compiles what changed since', () => {
    const main = files();
    mkdirSync(folder.file('cached'));
    const kept = userCache(folder.file('cached'));
    const filling = new Loader(kept, main);
    filling.load(main);
    filling.keepCode();
    writeFileSync(folder.file('twice.cjs'), 'exports.twice = (n) => n * 20000;');
    expect(new Loader(kept, main).load(main)).toMatchObject({ value: 420000 });
  });
});

describe('a built program', () => {
  const copied = (): string => {
    cpSync(join(builtProgram('tsimg'), '..'), folder.file('dist'), { recursive: true });
    rmSync(folder.file('dist/code-cache'), { recursive: true });
    return folder.file('dist/tsimg.cjs');
  };
  const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], HOME: folder.path, ...more });
  const version = (program: string, more: NodeJS.ProcessEnv = {}): { status: number | null; stdout: string; stderr: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, '--version'], { encoding: 'utf8', env: env(more) });
    return { status, stdout: stdout.split(' ')[0] ?? '', stderr };
  };
  const right = { status: 0, stdout: 'tsimg', stderr: '' };

  it('comes with compiled code for the Node that built it', () => {
    expect(shippedCache(join(builtProgram('tsimg'), '..'))?.find('tsimg.cjs')).toBeUndefined();
    expect(readdirSync(join(builtProgram('tsimg'), '..', 'code-cache')).length).toBe(1);
  });

  it('keeps its code at the first run, and runs whatever became of it', () => {
    const program = copied();
    expect(version(program)).toEqual(right);
    const [name] = readdirSync(folder.file('.cache/tsimg'));
    const kept = folder.file(`.cache/tsimg/${name}`);
    const files = readdirSync(kept);
    expect(files.length).toBeGreaterThan(2);
    expect(version(program)).toEqual(right);
    for (const file of files) writeFileSync(join(kept, file), 'x'.repeat(5000));
    expect(version(program)).toEqual(right);
    for (const file of files) truncateToHalf(join(kept, file));
    expect(version(program)).toEqual(right);
    chmodSync(folder.file('.cache'), 0o777);
    expect(version(program)).toEqual(right);
  });

  it('keeps nothing with TSIMG_NO_CACHE', () => {
    const program = copied();
    expect(version(program, { TSIMG_NO_CACHE: '1' })).toEqual(right);
    expect(existsSync(folder.file('.cache'))).toBe(false);
  });
});

function truncateToHalf(path: string): void {
  writeFileSync(path, readFileSync(path).subarray(0, 2500));
}
