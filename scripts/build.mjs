/*
 * Builds dist/: the programs as CommonJS with code splitting (a command loads only what it needs), started by dist/NAME.cjs
 * with the code that V8 compiled at build time (src/launch), and the library as ESM.
 * yargs, chalk, ora and json5 are inlined; koffi and the zstd decoder stay outside, they are optional. Their licences go
 * into dist/THIRD-PARTY-NOTICES.txt.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'dist');
/** Built aside and put in place at the end: a build that fails leaves the last one as it was. */
const dist = join(root, `dist.new-${process.pid}`);
const started = new Date();
const programs = ['tsimg', 'tsio', 'tsnbd', 'tsqmp'];
/** What nearly every command needs, in one file: the number of files that a program loads is a good part of its start. */
const shared = [
  'core/block/',
  'core/storage/',
  'core/util/',
  'core/drivers/file.ts',
  'engine/engine.ts',
  'engine/exports.ts',
  'engine/objects.ts',
  'engine/ops/action.ts',
  'engine/ops/lookup.ts',
  'engine/ops/nodes.ts',
  'jobs/manager.ts',
  'engine/create.ts',
  'engine/drivers.ts',
  'cli/getopt.ts',
  'cli/options.ts',
  'cli/output.ts',
  'cli/report.ts',
  'cli/trace.ts',
  'commands/version.ts',
  'commands/image-command.ts',
].map((path) => join(root, 'src', path));
/** Of these folders, what only servers and jobs use. */
const rare = [
  'core/block/block-copy.ts',
  'core/block/range-copy.ts',
  'core/block/filter-node.ts',
  'core/block/device-info.ts',
  'core/storage/socket-path.ts',
  'core/storage/secret-file.ts',
  'core/util/schema',
  'core/util/bitmap.ts',
].map((path) => join(root, 'src', path));
const isShared = (id) => (id.includes('/helpers/esm/usingCtx') || shared.some((path) => id.startsWith(path))) && !rare.some((path) => id.startsWith(path));
/** The qcow2 driver but for what few users of an image need. */
const isQcow2 = (id) =>
  id.startsWith(join(root, 'src/qcow2/')) &&
  !/\/(check|repair|resize|shrink|create\.|create-values|refcount-area|refcount-width|amend|change-version|expand-zeros|encrypt)[^/]*$/.test(id);
const external = [/^node:/, 'koffi', '@bokuweb/zstd-wasm'];

/** string-width builds an Intl.Segmenter and a large expression at import (29 ms); our texts are ASCII. */
const narrowStringWidth = {
  name: 'narrow-string-width',
  resolveId: (id) => (id === 'string-width' ? '\0string-width' : null),
  load: (id) => (id === '\0string-width' ? 'export default (text) => String(text).replace(/\\u001b\\[[0-9;]*[A-Za-z]/g, "").length;' : null),
};

/** The same program with escapes for what is not ASCII. Holds for strings, plain templates, expressions and comments. */
const asciiOnly = (code) => code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The bundler leaves an `import()` of a file that is not there alone when a `try` is around it, as in bin/. */
const everyFileExists = {
  name: 'every-file-exists',
  resolveId: (id, importer) => {
    if (importer === undefined || !id.startsWith('.') || importer.includes('node_modules') || existsSync(join(dirname(importer), id))) return null;
    throw new Error(`${importer} imports ${id}, which does not exist`);
  },
};

mkdirSync(dist);
process.on('exit', () => rmSync(dist, { recursive: true, force: true }));
const inputs = Object.fromEntries(
  programs.filter((name) => existsSync(join(root, 'bin', `${name}.ts`))).map((name) => [name, join(root, 'bin', `${name}.ts`)]),
);
const inlined = new Set();
const common = {
  platform: 'node',
  external,
  plugins: [everyFileExists, narrowStringWidth],
  transform: { target: 'node20.19', define: {} },
  onLog: (level, log, handler) => {
    // yargs' apply-extends names import.meta for a feature that is not used here
    if (log.code === 'EMPTY_IMPORT_META') return;
    handler(level, log);
  },
};

const bundle = await rolldown({ ...common, input: inputs });
const { output } = await bundle.write({
  dir: dist,
  format: 'cjs',
  entryFileNames: 'programs/[name].cjs',
  chunkFileNames: 'chunks/[name]-[hash].cjs',
  exports: 'named',
  // code from a cache has no import()
  dynamicImportInCjs: false,
  codeSplitting: {
    groups: [
      { name: 'shared', test: isShared },
      { name: 'qcow2', test: isQcow2 },
    ],
  },
});
await bundle.close();
for (const chunk of output) {
  if (chunk.type !== 'chunk') continue;
  for (const id of chunk.moduleIds) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(id);
    if (found) inlined.add(found[1]);
  }
}
for (const chunk of output) {
  // V8 holds a file with one letter outside Latin-1 in two bytes a letter and compiles it three times slower
  if (chunk.type === 'chunk' && !chunk.code.includes('String.raw') && /[^\x00-\x7f]/.test(chunk.code))
    writeFileSync(join(dist, chunk.fileName), asciiOnly(chunk.code));
}

const launcher = await rolldown({ ...common, input: { launch: join(root, 'src/launch/launch.ts') } });
await launcher.write({ dir: dist, format: 'cjs', entryFileNames: '[name].cjs', codeSplitting: false });
await launcher.close();
const launch = readFileSync(join(dist, 'launch.cjs'), 'utf8');
const hash = createHash('sha256').update(launch);
for (const { fileName } of output) hash.update(fileName).update(readFileSync(join(dist, fileName)));
const programsHash = hash.digest('hex').slice(0, 16);
for (const name of Object.keys(inputs)) {
  const file = join(dist, `${name}.cjs`);
  writeFileSync(file, `#!/usr/bin/env node\n${launch}\nlaunch('${name}', __dirname, '${programsHash}');\n`);
  chmodSync(file, 0o755);
}
// by another process: compiled code is for the flags that V8 was started with
const mains = output.filter(({ type, exports }) => type === 'chunk' && exports.includes('main')).map(({ fileName }) => fileName);
execFileSync(process.execPath, [join(root, 'scripts/code-cache.mjs'), dist, ...mains], { stdio: 'inherit' });

if (existsSync(join(root, 'src/index.ts'))) {
  const library = await rolldown({ ...common, input: { index: join(root, 'src/index.ts') } });
  await library.write({ dir: dist, format: 'esm', entryFileNames: '[name].js', chunkFileNames: 'lib/[name]-[hash].js' });
  await library.close();
}

const notices = [...inlined].sort().map((name) => {
  const folder = join(root, 'node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file === undefined ? '' : readFileSync(join(folder, file), 'utf8').trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(dist, 'THIRD-PARTY-NOTICES.txt'), `The programs contain code of these packages.\n\n${notices.join(`\n${'-'.repeat(72)}\n\n`)}`);

// dated when the build began: what changed since is not in it
utimesSync(join(dist, 'THIRD-PARTY-NOTICES.txt'), started, started);
rmSync(target, { recursive: true, force: true });
renameSync(dist, target);
