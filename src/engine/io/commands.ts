/*
 * The commands of qemu-io by name: their words, options and what they need. How a line is run is run.ts's affair.
 * Rule source: observed output of qemu-io 11.1 and of the human monitor's qemu-io.
 */
import { type PermBits, perm } from '../../core/util/perm-bits.ts';
import { closeFile, openFile, raise, removeBreak, reopen, resume, setBreak, sigraise, waitBreak } from './control.ts';
import { allocated, flush, info, length, map, sleep, truncate } from './look.ts';
import { byteCount } from './parse.ts';
import { discard, type FreeContext, type IoContext, read, waitForBackground, write } from './requests.ts';

interface CommandShape {
  readonly name: string;
  readonly short?: string;
  readonly usage: string;
  readonly help: string;
  /** What the backend has to hold for it. */
  readonly perm?: PermBits;
  /** Short options; a colon after one that takes a value. */
  readonly options?: string;
  /** Words after the name, options included. */
  readonly words: readonly [min: number, max: number];
  /** Operands left after the options. */
  readonly operands?: readonly [min: number, max: number];
  /** Only where the language is a program's own: a monitor has its images already. */
  readonly isOfProgram?: boolean;
}

/** Settles with true, with text that is the command's result, or with false: it failed and said so. */
type Ran = Promise<boolean | string>;

export type IoCommand = CommandShape &
  ({ readonly run: (context: IoContext) => Ran; readonly runFree?: never } | { readonly runFree: (context: FreeContext) => Ran; readonly run?: never });

export const many: number = Number.POSITIVE_INFINITY;

const zoneHelp: Readonly<Record<string, string>> = {
  append: 'append bytes to a zone',
  close: 'close a range of zones',
  finish: 'finish a range of zones',
  open: 'open a range of zones',
  report: 'report zones',
  reset: 'reset the write pointers of a range of zones',
};

export const commands: readonly IoCommand[] = [
  { name: 'abort', usage: '', help: 'end the program as a crash would', words: [0, 0], runFree: (context) => raise(context, 'SIGABRT') },
  {
    name: 'aio_discard',
    usage: '[-Cq] off len',
    help: 'asynchronously discards a number of bytes',
    perm: perm.write,
    options: 'Cq',
    words: [2, many],
    operands: [2, 2],
    run: discard,
  },
  {
    name: 'aio_flush',
    usage: '',
    help: 'completes all outstanding aio requests',
    words: [0, 0],
    run: async ({ backend }) => {
      await waitForBackground(backend);
      return true;
    },
  },
  {
    name: 'aio_read',
    usage: '[-Ciqrv] [-P pattern] off len [len..]',
    help: 'asynchronously reads a number of bytes',
    options: 'CiP:qrv',
    words: [2, many],
    operands: [2, many],
    run: read,
  },
  {
    name: 'aio_write',
    usage: '[-Cfiqruz] [-P pattern] off len [len..]',
    help: 'asynchronously writes a number of bytes',
    perm: perm.write,
    options: 'CfiP:qruz',
    words: [2, many],
    operands: [2, many],
    run: write,
  },
  { name: 'alloc', usage: 'offset [count]', help: 'checks if offset is allocated in the file', words: [1, 2], operands: [1, 2], run: allocated },
  { name: 'break', usage: 'event tag', help: 'stop the next request at an event and give it a tag', words: [2, 2], operands: [2, 2], run: setBreak },
  { name: 'close', short: 'c', usage: '', help: 'close the current open file', words: [0, 0], isOfProgram: true, run: closeFile },
  {
    name: 'discard',
    short: 'd',
    usage: '[-Cq] off len',
    help: 'discards a number of bytes at a specified offset',
    perm: perm.write,
    options: 'Cq',
    words: [2, many],
    operands: [2, 2],
    run: discard,
  },
  { name: 'flush', short: 'f', usage: '', help: 'flush all in-core file state to disk', words: [0, 0], run: flush },
  { name: 'help', short: '?', usage: '[command]', help: 'help for one or all commands', words: [0, 1], operands: [0, 1], runFree: help },
  { name: 'info', short: 'i', usage: '', help: 'prints information about the current file', words: [0, 0], run: info },
  {
    name: 'length',
    short: 'l',
    usage: '',
    help: 'gets the length of the current file',
    words: [0, 0],
    run: length,
  },
  { name: 'map', usage: '', help: 'prints the allocated areas of a file', words: [0, 0], run: map },
  {
    name: 'open',
    short: 'o',
    usage: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
    help: 'open the file specified by path',
    options: 'snCro:ki:t:d:U',
    words: [1, many],
    operands: [0, 1],
    isOfProgram: true,
    runFree: openFile,
  },
  { name: 'quit', short: 'q', usage: '', help: 'exit the program', words: [0, many], operands: [0, many], isOfProgram: true, runFree: async () => true },
  {
    name: 'read',
    short: 'r',
    usage: '[-abCqrv] [-P pattern [-s off] [-l len]] off len',
    help: 'reads a number of bytes at a specified offset',
    options: 'abCl:pP:qrs:v',
    words: [2, many],
    operands: [2, 2],
    run: read,
  },
  {
    name: 'readv',
    usage: '[-Cqrv] [-P pattern] off len [len..]',
    help: 'reads a number of bytes at a specified offset',
    options: 'CP:qrv',
    words: [2, many],
    operands: [2, many],
    run: read,
  },
  { name: 'remove_break', usage: 'tag', help: 'remove a breakpoint by tag', words: [1, 1], operands: [1, 1], run: removeBreak },
  {
    name: 'reopen',
    usage: '[(-r|-w)] [-c cache] [-o options]',
    help: 'reopens an image with new options',
    options: 'c:o:rw',
    words: [0, many],
    operands: [0, 0],
    run: reopen,
  },
  { name: 'resume', usage: 'tag', help: 'let the request with that tag go on', words: [1, 1], operands: [1, 1], run: resume },
  { name: 'sigraise', usage: 'signal', help: 'raises a signal', words: [1, 1], operands: [1, 1], runFree: sigraise },
  { name: 'sleep', usage: '', help: 'waits for the given value in milliseconds', words: [1, 1], operands: [1, 1], runFree: sleep },
  {
    name: 'truncate',
    usage: '[-m prealloc_mode] off',
    help: 'truncates the current file at the given offset',
    perm: perm.write | perm.resize,
    options: 'm:',
    words: [1, 3],
    operands: [1, 1],
    run: truncate,
  },
  { name: 'wait_break', usage: 'tag', help: 'waits for the suspension of a request', words: [1, 1], operands: [1, 1], run: waitBreak },
  {
    name: 'write',
    short: 'w',
    usage: '[-bcCfnqruz] [-P pattern | -s source_file] off len',
    help: 'writes a number of bytes at a specified offset',
    perm: perm.write,
    options: 'bcCfnpP:qrs:uz',
    words: [2, many],
    operands: [2, 2],
    run: write,
  },
  {
    name: 'writev',
    usage: '[-Cfqr] [-P pattern] off len [len..]',
    help: 'writes a number of bytes at a specified offset',
    perm: perm.write,
    options: 'CfP:qr',
    words: [2, many],
    operands: [2, many],
    run: write,
  },
  ...['append', 'close', 'finish', 'open', 'report', 'reset'].map(zoneCommand),
];

/** No node here has zones: the numbers are looked at, and the answer is the peer's for a file. */
function zoneCommand(verb: string): IoCommand {
  const isAppend = verb === 'append';
  return {
    name: `zone_${verb}`,
    usage: isAppend ? 'offset len [len..]' : verb === 'report' ? 'offset number' : 'offset len',
    help: zoneHelp[verb] ?? '',
    words: isAppend ? [3, 4] : [2, 2],
    operands: isAppend ? [3, 4] : [2, 2],
    run: async ({ given, out }) => {
      for (const text of given.operands) byteCount(text);
      out(`zone ${verb} failed: Operation not supported\n`);
      return false;
    },
  };
}

const aliasOf = (name: string) => (command: IoCommand) => command.name === name || command.short === name;

/** The command of that name or short name; those of a program of its own only where there is one. */
export function findCommand(name: string, hasProgram: boolean): IoCommand | undefined {
  return offered(hasProgram).find(aliasOf(name));
}

function offered(hasProgram: boolean): readonly IoCommand[] {
  return hasProgram ? commands : commands.filter(({ isOfProgram }) => isOfProgram !== true);
}

/** The line of a command in `help`. */
export function describe({ name, usage, help: text }: IoCommand): string {
  return name === 'map' ? `${name}  -- ${text}` : `${name}${usage === '' ? '' : ` ${usage}`} -- ${text}`;
}

async function help({ given, out, host }: FreeContext): Promise<boolean> {
  const [name] = given.operands;
  const hasProgram = host.program !== undefined;
  if (name === undefined) {
    const lines = offered(hasProgram).map((command) => `${describe(command)}\n`);
    out(`${lines.join('')}\nUse 'help commandname' for extended help.\n`);
    return true;
  }
  const command = findCommand(name, hasProgram);
  out(command === undefined ? `command ${name} not found\n` : `${describe(command)}\n`);
  return command !== undefined;
}
