/*
 * npm run faults [-- [--before COMMIT] [NAME …]]: plays the rows of test/faults, each in a process of its own, and prints
 * row, expected and got. With --before every row must fail on COMMIT (built in a scratch folder) and pass here.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { buildOf } from './older-build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const limitMs = 90_000;

const words = process.argv.slice(2);
const at = words.indexOf('--before');
const before = at < 0 ? undefined : words.splice(at, 2)[1];
const names = words;

const scratch = mkdtempSync(join(tmpdir(), 'tsimg-faults-'));
try {
  process.exitCode = await main();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function main() {
  const scenes = (await bundle()).filter(({ name }) => names.length === 0 || names.some((word) => name.includes(word)));
  if (scenes.length === 0) {
    console.error('no such row');
    return 2;
  }
  run('npm', ['run', '--silent', 'build'], root);
  const old = before === undefined ? undefined : buildOf(before, root, join(scratch, 'before'));
  let wrong = 0;
  for (const { name, folder, expected } of scenes) {
    if (old !== undefined && folder === 'rows') {
      const got = play(name, old);
      const isRight = got !== expected;
      if (!isRight) wrong++;
      console.log(`${isRight ? 'fails, as it should' : 'PASSES ALREADY'}  ${name} on ${before}\n  got:      ${got}`);
    }
    const got = play(name, root);
    if (got !== expected) wrong++;
    console.log(`${got === expected ? 'ok  ' : 'FAIL'}  ${name}\n  expected: ${expected}\n  got:      ${got}`);
  }
  console.log(`${scenes.length} scenes, ${wrong} wrong`);
  return wrong === 0 ? 0 : 1;
}

/** Bundles the scenes with a player; returns what there is. */
async function bundle() {
  const lines = [];
  for (const folder of ['rows', 'variants']) {
    for (const file of readdirSync(join(root, 'test', 'faults', folder)).filter((name) => name.endsWith('.fault.ts'))) {
      lines.push(
        `import s${lines.length} from ${JSON.stringify(join(root, 'test', 'faults', folder, file))}; add(${JSON.stringify(folder)}, s${lines.length});`,
      );
    }
  }
  const imports = lines.map((line) => line.slice(0, line.indexOf(' add(')));
  const calls = lines.map((line) => line.slice(line.indexOf(' add(')));
  writeFileSync(
    join(scratch, 'player.ts'),
    `${imports.join('\n')}
import { Stage } from ${JSON.stringify(join(root, 'test', 'faults', 'stage.ts'))};
const all = new Map();
const add = (folder, scenes) => { for (const scene of [scenes].flat()) all.set(scene.name, { ...scene, folder, play: (stage) => scene.play(stage) }); };
${calls.join('\n')}
const [name, checkout] = process.argv.slice(2);
if (name === undefined) console.log(JSON.stringify([...all.values()].map(({ name, folder, expected }) => ({ name, folder, expected }))));
else {
  const stage = new Stage(checkout);
  let got;
  try { got = await all.get(name).play(stage); } catch (error) { got = 'threw: ' + (error?.message ?? error); }
  console.log('\\n@@' + JSON.stringify(got));
  await stage[Symbol.asyncDispose]();
  process.exit(0);
}
`,
  );
  const built = await rolldown({
    input: join(scratch, 'player.ts'),
    platform: 'node',
    transform: { target: 'node20.19' },
    external: [/^koffi/, /zstd-wasm/],
    onLog: () => {},
  });
  await built.write({ dir: scratch, format: 'esm', entryFileNames: 'player.mjs' });
  symlinkSync(join(root, 'node_modules'), join(scratch, 'node_modules'));
  return JSON.parse(run(process.execPath, [join(scratch, 'player.mjs')], scratch));
}

/** Plays one scene on a checkout; what came of it, as text. */
function play(name, where) {
  const done = spawnSync(process.execPath, [join(scratch, 'player.mjs'), name, where], {
    encoding: 'utf8',
    timeout: limitMs,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 28,
  });
  const line = done.stdout?.split('\n').find((text) => text.startsWith('@@'));
  if (line !== undefined) return String(JSON.parse(line.slice(2)));
  if (done.error?.code === 'ETIMEDOUT') return `no end within ${limitMs / 1000} s`;
  return `the process ended: ${done.signal ?? done.status} ${(done.stderr ?? '').trim().split('\n').slice(-1)[0] ?? ''}`;
}

function run(command, args, cwd) {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}
