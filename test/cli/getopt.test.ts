import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { UsageError } from '../../src/cli/getopt.ts';
import { commandHelp, programHelp } from '../../src/cli/help.ts';
import { defineOptions, helpOption, type Parsed, parseOptions, spellings } from '../../src/cli/options.ts';

const table = defineOptions({
  help: helpOption,
  format: { short: 'f', arg: 'FMT', help: 'format' },
  options: { short: 'o', arg: 'FMT_OPTS', many: true, help: 'options' },
  backing: { short: 'b', arg: 'FILE', help: 'backing file' },
  backingFormat: { short: 'B', also: ['F'], arg: 'FMT', help: 'format of the backing file' },
  backingUnsafe: { short: 'u', help: 'do not open it' },
  quiet: { short: 'q', help: 'quiet' },
  verbose: { short: 'v', many: true, help: 'more' },
  level: { short: 'l', arg: 'N', argOptional: true, help: 'level' },
  object: { arg: 'OBJDEF', many: true, help: 'object' },
  secret: { long: null, short: 'S', hidden: true, help: 'hidden' },
});

function failure(...argv: string[]): string {
  try {
    parseOptions(argv, table);
  } catch (error) {
    if (error instanceof UsageError && error.fromParser) return error.message;
    throw error;
  }
  return 'no error';
}
/** Only what was set. */
function set(...argv: string[]): Record<string, unknown> {
  const { options, operands } = parseOptions(argv, table);
  const given = Object.entries(options).filter(
    ([, value]) => value !== undefined && value !== false && value !== 0 && !(Array.isArray(value) && value.length === 0),
  );
  return { ...Object.fromEntries(given), operands };
}

describe('getopt_long', () => {
  it('takes arguments in all four spellings', () => {
    for (const argv of [['-fqcow2'], ['-f', 'qcow2'], ['--format=qcow2'], ['--format', 'qcow2'], ['--form', 'qcow2'], ['--f=qcow2']]) {
      expect(set(...argv)).toEqual({ format: 'qcow2', operands: [] });
    }
    expect(set('--format=', 'x')).toEqual({ format: '', operands: ['x'] });
    expect(set('-f', '--')).toEqual({ format: '--', operands: [] });
    expect(set('-f=raw')).toEqual({ format: '=raw', operands: [] });
  });

  it('unbundles letters; the last may have its argument attached or in the next word', () => {
    expect(set('-qf', 'raw', 'a')).toEqual({ quiet: true, format: 'raw', operands: ['a'] });
    expect(set('-quvvfraw')).toEqual({ quiet: true, backingUnsafe: true, verbose: 2, format: 'raw', operands: [] });
  });

  it('permutes operands, keeps what follows -- and a single dash', () => {
    expect(set('a', '-q', '1M', '-f', 'raw')).toEqual({ quiet: true, format: 'raw', operands: ['a', '1M'] });
    expect(set('-f', 'raw', '--', '-a', '--', '1M')).toEqual({ format: 'raw', operands: ['-a', '--', '1M'] });
    expect(set('-', '+1G', '')).toEqual({ operands: ['-', '+1G', ''] });
  });

  it('stops at the first operand where asked to, or with POSIXLY_CORRECT', () => {
    expect(parseOptions(['-q', 'create', '-f', 'x'], table, { permute: false }).operands).toEqual(['create', '-f', 'x']);
    expect(parseOptions(['a', '-q'], table, { env: { POSIXLY_CORRECT: '1' } }).operands).toEqual(['a', '-q']);
    expect(parseOptions(['--', '-q'], table, { permute: false }).operands).toEqual(['-q']);
  });

  it('takes optional arguments only when attached', () => {
    expect(set('-l', '5')).toEqual({ level: '', operands: ['5'] });
    expect(set('-l5', '--level')).toEqual({ level: '', operands: [] });
    expect(set('--level=7')).toEqual({ level: '7', operands: [] });
  });

  it('collects repeated options in order; others keep the last', () => {
    expect(set('-o', 'a', '-o', 'b', '-f', 'x', '-f', 'y')).toEqual({ options: ['a', 'b'], format: 'y', operands: [] });
    expect(parseOptions(['-q', '-o', 'a', '-q'], table).order).toEqual([
      { key: 'quiet', value: undefined },
      { key: 'options', value: 'a' },
      { key: 'quiet', value: undefined },
    ]);
  });

  it('resolves other spellings to the same option', () => {
    expect(set('-F', 'raw')).toEqual({ backingFormat: 'raw', operands: [] });
    expect(spellings('backingFormat', table.backingFormat)).toEqual(['-B', '--backing-format', '-F']);
    expect(spellings('secret', table.secret)).toEqual(['-S']);
  });

  it.each([
    [['-Z'], "invalid option -- 'Z'"],
    [['-qZ'], "invalid option -- 'Z'"],
    [['-1'], "invalid option -- '1'"],
    [['-:'], "invalid option -- ':'"],
    [['--foo'], "unrecognized option '--foo'"],
    [['--foo=bar'], "unrecognized option '--foo=bar'"],
    [['-f'], "option requires an argument -- 'f'"],
    [['-qf'], "option requires an argument -- 'f'"],
    [['--format'], "option '--format' requires an argument"],
    [['--form'], "option '--format' requires an argument"],
    [['--qui=1'], "option '--quiet' doesn't allow an argument"],
    [['--o', 'x'], "option '--o' is ambiguous; possibilities: '--options' '--object'"],
    [['--o=5'], "option '--o=5' is ambiguous; possibilities: '--options' '--object'"],
    [['--ba'], "option '--ba' is ambiguous; possibilities: '--backing' '--backing-format' '--backing-unsafe'"],
    [['a', '-q', '--foo', '-Z'], "unrecognized option '--foo'"],
  ])('says of %j: %s', (argv, message) => {
    expect(failure(...argv)).toBe(message);
  });

  it('stops at help, before later mistakes are seen', () => {
    expect(parseOptions(['-q', '-h', '--foo'], table).stoppedAt).toBe('help');
    expect(failure('--foo', '-h')).toBe("unrecognized option '--foo'");
  });

  it('lets a command take words with a dash as operands', () => {
    const acceptsAsOperand = (word: string, previous: string | undefined): boolean => previous !== undefined && /^-\d/.test(word);
    expect(parseOptions(['f', '-1M', '-q'], table, { acceptsAsOperand }).operands).toEqual(['f', '-1M']);
    expect(() => parseOptions(['f', '-q', '-1M'], table, { acceptsAsOperand })).toThrow("invalid option -- '1'");
  });

  it('types the options by the table', () => {
    expectTypeOf<Parsed<typeof table>['format']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<Parsed<typeof table>['options']>().toEqualTypeOf<string[]>();
    expectTypeOf<Parsed<typeof table>['quiet']>().toEqualTypeOf<boolean>();
    expectTypeOf<Parsed<typeof table>['verbose']>().toEqualTypeOf<number>();
    expect(parseOptions([], table).options.verbose).toBe(0);
  });

  it('fails with nothing but UsageError, and keeps every operand after --', () => {
    const word = fc.oneof(fc.string(), fc.constantFrom('-q', '-f', '--format', '--o', '-', '--', '-vv', '--level=1'));
    fc.assert(
      fc.property(fc.array(word), fc.array(fc.string()), (argv, rest) => {
        try {
          const { operands, stoppedAt } = parseOptions([...argv, '--', ...rest], table);
          if (stoppedAt === undefined && rest.length > 0 && argv[argv.length - 1] !== '-f') expect(operands.slice(-rest.length)).toEqual(rest);
        } catch (error) {
          if (!(error instanceof UsageError)) throw error;
        }
      }),
    );
  });
});

describe('help', () => {
  it('has the layout of the peer: usage, sentence, spellings with indented text', () => {
    const text = commandHelp({
      command: 'tsimg create',
      usage: ['[-f FMT]', '[-q] FILE [SIZE]'],
      summary: 'Make an image.',
      options: table,
      operands: [{ name: 'FILE', help: 'name of the image\n(replaced if it exists)' }],
    });
    expect(text).toContain(
      'Usage:\n  tsimg create [-f FMT]\n        [-q] FILE [SIZE]\n\nMake an image.\n\nArguments:\n  -h, --help\n     print this help and exit\n  -f, --format FMT\n     format\n',
    );
    expect(text).toContain('  -l, --level[=N]\n');
    expect(text).toContain('  --object OBJDEF\n');
    expect(text).toContain('  FILE\n     name of the image\n     (replaced if it exists)\n\n');
    expect(text).not.toContain('hidden');
  });

  it('lists commands and wraps words for the whole program', () => {
    const text = programHelp({
      program: 'tsimg',
      version: ['tsimg version 1'],
      description: 'Disk images.',
      usage: ['COMMAND'],
      options: {},
      commands: [{ name: 'create', summary: 'Make one' }],
      words: { heading: 'Formats:', list: Array.from({ length: 20 }, (_, i) => `format${i}`) },
    });
    expect(text).toContain('  create - Make one\n');
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(75);
  });
});
