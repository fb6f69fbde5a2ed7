/* What users of the package get: the library's exports, the files of the tarball and their size. Pinned. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import * as library from '../../src/index.ts';
import { builtProgram, projectRoot, run, runSync } from '../support/run.ts';

const valuesOfLibrary = [
  'BlockBackend',
  'BlockError',
  'Engine',
  'MemoryStorage',
  'NbdExport',
  'NbdServer',
  'createImage',
  'isPending',
  'localStorage',
  'readerPerms',
  'reqFlag',
  'resizerPerms',
  'writerPerms',
];
const maxUnpackedBytes = 3 * 1024 * 1024;

interface PackageManifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly man: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as PackageManifest;

describe('library', () => {
  it('exports these values and no others', () => {
    expect(Object.keys(library).sort()).toEqual(valuesOfLibrary);
  });

  it('exports the same when built', async () => {
    const url = pathToFileURL(join(builtProgram('tsimg'), '..', 'index.js')).href;
    const { stdout } = await run(process.execPath, ['-e', `import(${JSON.stringify(url)}).then((all) => console.log(Object.keys(all).sort().join(' ')))`]);
    expect(stdout.trim().split(' ')).toEqual(valuesOfLibrary);
  });
});

describe('tarball', () => {
  builtProgram('tsimg');
  const packed = runSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: projectRoot });
  const [{ files, unpackedSize }] = JSON.parse(packed.stdout) as [{ files: { path: string; mode: number }[]; unpackedSize: number }];
  const paths = files.map(({ path }) => path);

  it('holds what is built, the manual pages, the examples and the texts, and nothing else', () => {
    expect(paths.filter((path) => !/^(?:dist|examples)\//.test(path)).sort()).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'man/tsimg.1', 'man/tsio.1', 'man/tsnbd.1', 'man/tsqmp.1', 'package.json'].sort(),
    );
    const examples = readdirSync(join(projectRoot, 'examples')).map((name) => `examples/${name}`);
    expect(paths.filter((path) => path.startsWith('examples/')).sort()).toEqual(examples.sort());
    expect(
      paths.filter(
        (path) =>
          path.startsWith('dist/') &&
          !/^dist\/(?:.+\.d\.ts|index\.js|ts(?:img|io|nbd|qmp)\.cjs|(?:chunks|programs)\/[\w.-]+\.cjs|lib\/[\w.-]+\.js|THIRD-PARTY-NOTICES\.txt)$/.test(path),
      ),
    ).toEqual([]);
    expect(paths).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/THIRD-PARTY-NOTICES.txt']));
  });

  it('holds the programs and pages that package.json names, the programs executable', () => {
    for (const path of Object.values(manifest.bin)) expect(files.find((file) => file.path === path)?.mode, path).toBe(0o755);
    for (const path of manifest.man) expect(paths).toContain(path.replace('./', ''));
  });

  it('is small', () => {
    expect(unpackedSize).toBeLessThan(maxUnpackedBytes);
  });

  it('names the licence of each package whose code it carries', () => {
    const notices = readFileSync(join(projectRoot, 'dist', 'THIRD-PARTY-NOTICES.txt'), 'utf8');
    for (const name of Object.keys(manifest.dependencies)) expect(notices).toMatch(new RegExp(`^${name} [\\d.]+ \\((?:MIT|ISC|BlueOak-1\\.0\\.0)\\)$`, 'm'));
  });

  it('needs nothing at run time but Node and what is optional', () => {
    const allowed = ['koffi', '@bokuweb/zstd-wasm'];
    const programs = [
      ...Object.keys(manifest.bin).map((name) => builtProgram(name)),
      ...chunks('chunks'),
      ...chunks('lib'),
      join(projectRoot, 'dist', 'index.js'),
    ];
    const names = programs.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/(?:\brequire\d*|\bimport)\(["']([^"'.][^"']*)["']\)|\bfrom\s?["']([^"'.$][^"']*)["']/g)].map(
        (match) => match[1] ?? match[2] ?? '',
      ),
    );
    expect([...new Set(names)].filter((name) => !isBuiltin(name) && !allowed.includes(name))).toEqual([]);
  });
});

describe('package.json', () => {
  it('gives exact versions', () => {
    for (const [name, version] of [...Object.entries(manifest.dependencies), ...Object.entries(manifest.devDependencies)])
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

function chunks(folder: string): string[] {
  const path = join(projectRoot, 'dist', folder);
  return existsSync(path) ? readdirSync(path).map((name) => join(path, name)) : [];
}
