/*
 * npm run check:package: what a user of the package gets. Packs it (dist/ as it is), lets publint and
 * are-the-types-wrong look at the tarball, installs it elsewhere, starts its programs, imports the library and lets a
 * strict consumer's compiler read the declarations. Exits 1 at the first thing that is wrong.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'tsimg-package-'));
const consumer = join(folder, 'consumer');

/** Runs a program to its end; what it said is shown when it fails only. */
function run(command, args, cwd = root) {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    console.error(
      `${command} ${args.join(' ')}: ${error.status === null ? error.message : `exit ${error.status}`}\n${error.stdout ?? ''}${error.stderr ?? ''}`,
    );
    process.exitCode = 1;
    throw new Error('the package is not right');
  }
}

const tool = (name, args) => run(join(root, 'node_modules', '.bin', name), args);

try {
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder]));
  const tarball = join(folder, filename);
  tool('publint', ['run', tarball, '--strict']);
  tool('attw', [tarball, '--profile', 'esm-only']);
  console.log('package: publint and are-the-types-wrong find nothing');

  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', tarball, `@types/node@${manifest.devDependencies['@types/node']}`], consumer);
  for (const program of Object.keys(manifest.bin)) {
    const said = run(join(consumer, 'node_modules', '.bin', program), ['--version'], consumer);
    if (!said.includes(program)) throw new Error(`${program} --version says ${JSON.stringify(said)}`);
  }
  console.log(`package: ${Object.keys(manifest.bin).join(', ')} start from an installation`);

  writeFileSync(
    join(consumer, 'index.ts'),
    "import { BlockError, createImage, Engine } from 'tsimg';\n" +
      'await using engine = new Engine();\n' +
      "await createImage(engine, 'qcow2', 'disk.qcow2', { size: 1048576 });\n" +
      "const disk = await engine.openBackend({ filename: 'disk.qcow2' });\n" +
      'const sector = new Uint8Array(512).fill(1);\n' +
      'await disk.read(0, sector);\n' +
      "const failure: unknown = await engine.openBackend({ filename: 'absent.qcow2' }).catch((error: unknown) => error);\n" +
      'console.log(disk.size(), sector.every((byte) => byte === 0), failure instanceof BlockError && failure.message);\n',
  );
  const compiler = { target: 'es2022', lib: ['es2023', 'esnext.disposable'], module: 'nodenext', strict: true, skipLibCheck: false, types: ['node'] };
  writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions: compiler, files: ['index.ts'] }));
  tool('tsc', ['-p', consumer]);
  const said = run(process.execPath, [join(consumer, 'index.js')], consumer);
  if (!/^1048576 true Could not open 'absent.qcow2'/.test(said)) throw new Error(`the library says ${JSON.stringify(said)}`);
  console.log('package: the library imports, its types compile in a strict project');
} catch (error) {
  console.error(`package: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
