import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'vitest';
import { makeQmpFixture } from './differential/qmp-fixture.ts';
import { play } from './differential/qmp-harness.ts';
import { qmpHistory } from './differential/qmp-histories.ts';
import { machine, storageDaemon } from './differential/qmp-suite.ts';
import { peer } from './support/peers.ts';
import { builtProgram } from './support/run.ts';

test('x', async () => {
  const [from = 1, count = 20] = (process.env['QMP_SEEDS'] ?? '').split('+').map(Number);
  rmSync('/tmp/hh', { recursive: true, force: true });
  mkdirSync('/tmp/hh/t', { recursive: true });
  makeQmpFixture('/tmp/hh/t', peer);
  const M = process.env['M'] === '1';
  const P = M ? machine : storageDaemon;
  const bad: number[] = [];
  for (let seed = from; seed < from + count; seed++) {
    const script = qmpHistory(seed, 30, M);
    const out: string[] = [];
    for (const side of ['a', 'b']) {
      const folder = join('/tmp/hh', side + seed);
      cpSync('/tmp/hh/t', folder, { recursive: true });
      const place = (w: readonly string[]): string[] => w.map((x) => x.replaceAll('@/', `${folder}/`));
      try {
        out.push(
          side === 'a'
            ? await play(peer(P.peer), place(P.peerArgs(script)), script, folder)
            : await play(process.execPath, [builtProgram('tsqmp'), ...place(P.ourArgs(script))], script, folder),
        );
      } catch (e) {
        out.push(String(e));
      }
      rmSync(folder, { recursive: true, force: true });
    }
    if (out[0] !== out[1]) {
      bad.push(seed);
      writeFileSync(`/tmp/hh/${seed}.p`, out[0] ?? '');
      writeFileSync(`/tmp/hh/${seed}.o`, out[1] ?? '');
    }
  }
  console.log('BAD', bad.join(' '));
}, 3_600_000);
