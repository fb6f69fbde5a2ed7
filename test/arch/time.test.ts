/* Time comes from a Clock: timers are set and clocks are read in clock.ts and in the programs, nowhere else. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { projectRoot } from '../support/run.ts';

const ofTime = /\b(?:setTimeout|setInterval|setImmediate|Date\.now|new Date\(\)|performance\.now|process\.hrtime|process\.uptime|node:timers)\b/;

/** The one home of time, and the shell: a program with a person before it. */
const allowed = ['src/core/util/clock.ts', 'src/qmp-shell/daemon.ts', 'src/qmp-shell/event-log.ts', 'src/qmp-shell/main.ts', 'src/qmp-shell/spinner.ts'];

it('nothing but the clock and the shell sets a timer or looks at the time', () => {
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'src/**/*.ts'], { cwd: projectRoot, encoding: 'utf8' });
  const found = files.split('\n').filter((file) => file !== '' && ofTime.test(withoutComments(file)));
  expect(found.sort()).toEqual(allowed);
});

function withoutComments(file: string): string {
  return readFileSync(join(projectRoot, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
}
