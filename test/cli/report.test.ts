import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/cli/getopt.ts';
import { ProgressLine, programName, Reporter } from '../../src/cli/report.ts';
import { BlockError, InvariantError } from '../../src/core/util/errors.ts';

function reporter(hints?: boolean, isTTY = false): { report: Reporter; text: () => string } {
  let text = '';
  const stderr = {
    isTTY,
    write(part: string): void {
      text += part;
    },
  };
  return { report: new Reporter({ program: 'tsimg', stderr, stdout: stderr, hints }), text: () => text };
}

describe('reports', () => {
  it('print the message, its detail, and the hint only where hints are on', () => {
    const error = new BlockError('Failed to get "write" lock', { code: 'EAGAIN', detail: 'Is another process using the image [x]?', hint: 'it is' });
    const quiet = reporter();
    expect(quiet.report.error(error)).toBe(1);
    expect(quiet.text()).toBe('tsimg: Failed to get "write" lock\nIs another process using the image [x]?\n');
    for (const loud of [reporter(true), reporter(undefined, true)]) {
      loud.report.error(error);
      expect(loud.text()).toMatch(/\nhint: it is\n$/);
    }
    const off = reporter(false, true);
    off.report.error(error);
    expect(off.text()).not.toContain('hint');
  });

  it('name the sub-command for mistakes that the option parser found, and say where to look', () => {
    const { report, text } = reporter();
    const create = report.forCommand('create');
    expect(create.error(new UsageError("invalid option -- 'Z'", { fromParser: true }))).toBe(1);
    create.error(new UsageError('Expecting one image file name'));
    create.error(new UsageError('Must specify image file name', { showTry: false }));
    expect(text()).toBe(
      [
        "tsimg create: invalid option -- 'Z'",
        "Try 'tsimg create --help' for more information",
        'tsimg: Expecting one image file name',
        "Try 'tsimg create --help' for more information",
        'tsimg: Must specify image file name',
        '',
      ].join('\n'),
    );
  });

  it('print the error of the body before that of the close', () => {
    const { report, text } = reporter();
    const both = Object.assign(new Error(''), {
      name: 'SuppressedError',
      error: new BlockError('close', { code: 'EIO' }),
      suppressed: new BlockError('body', { code: 'EIO' }),
    });
    expect(report.error(both)).toBe(1);
    expect(text()).toBe('tsimg: body\ntsimg: close\n');
  });

  it('give bugs one line and exit code 70, system errors the C library text', () => {
    const { report, text } = reporter();
    expect(report.error(new InvariantError('broken\nstack'))).toBe(70);
    expect(report.error(new TypeError('x is not a function'))).toBe(70);
    expect(report.error(Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES', syscall: 'open' }))).toBe(1);
    expect(text()).toBe('tsimg: internal error: broken\ntsimg: internal error: TypeError: x is not a function\ntsimg: Permission denied\n');
  });

  it('speak under the name that started the program', () => {
    expect(programName('/usr/bin/qemu-img', 'tsimg')).toBe('qemu-img');
    expect(programName('/x/dist/tsimg.cjs', 'tsimg')).toBe('tsimg');
    expect(programName(undefined, 'tsimg')).toBe('tsimg');
  });
});

describe('progress', () => {
  it('overwrites one line and ends it', () => {
    let text = '';
    const line = new ProgressLine({ write: (part: string) => (text += part) }, true);
    line.show(0);
    line.show(12.345);
    line.show(100);
    line.finish();
    expect(text).toBe('    (0.00/100%)\r    (12.35/100%)\r    (100.00/100%)\r\n');
  });

  it('is silent when off, but remembers where it stands', () => {
    let text = '';
    const line = new ProgressLine({ write: (part: string) => (text += part) }, false);
    line.show(75);
    line.finish();
    expect(text).toBe('');
    expect(line.snapshot()).toBe('    (75.00/100%)\n');
  });
});
