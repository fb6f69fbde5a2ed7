/*
 * Runs a line of the qemu-io language, for the program tsio on the image that it has open and for HMP's `qemu-io` on a
 * drive or node. Rule source: observed behaviour of qemu-io 11.1.
 */
import type { BlockBackend } from '../../core/block/backend.ts';
import { BlockError } from '../../core/util/errors.ts';
import { describe, findCommand, type IoCommand, many } from './commands.ts';
import { OptionError, parseWords, UsageError } from './parse.ts';
import type { FreeContext, IoHost } from './requests.ts';

export type { IoHost } from './requests.ts';

export interface IoResult {
  /** What the command answers apart from what it printed, with line ends. */
  readonly said: string;
  /** The program's own message. */
  readonly error?: BlockError;
  readonly isFailed: boolean;
  readonly isQuit?: boolean;
}

const done: IoResult = { said: '', isFailed: false };
const failed: IoResult = { said: '', isFailed: true };

/**
 * Runs one line; without a backend only commands that need no file. The backend gets the permissions that the command
 * needs, and keeps them. Failures of the command are part of the result, only bugs of ours reject.
 */
export async function runIoCommand(backend: BlockBackend | undefined, line: string, host: IoHost): Promise<IoResult> {
  const [name, ...words] = line.split(' ').filter((word) => word !== '');
  if (name === undefined) return done;
  const err = host.err ?? host.out;
  const command = findCommand(name, host.program !== undefined);
  if (command === undefined) {
    err(`command "${name}" not found\n`);
    return failed;
  }
  if (backend === undefined && command.run !== undefined) {
    err("no file open, try 'help open'\n");
    return failed;
  }
  const [min, max] = command.words;
  if (words.length < min || words.length > max) {
    const expected = max === many ? `at least ${min}` : min === max ? `${min}` : `between ${min} and ${max}`;
    err(`bad argument count ${words.length} to ${command.name}, expected ${expected} arguments\n`);
    return failed;
  }
  try {
    if (backend !== undefined && command.perm !== undefined) {
      const before = backend.perms;
      backend.setPerm(before.perm | command.perm, before.shared);
    }
    return await parseAndRun(command, words, backend, host);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return { said: '', error, isFailed: true };
  }
}

async function parseAndRun(command: IoCommand, words: readonly string[], backend: BlockBackend | undefined, host: IoHost): Promise<IoResult> {
  const { clock, out, readFile, err = out } = host;
  const usage = `${describe(command)}\n`;
  try {
    const given = parseWords(command.name, command.options ?? '', words);
    const [min, max] = command.operands ?? [0, 0];
    const needsPattern = command.name === 'read' && (given.flags.has('s') || given.flags.has('l')) && !given.flags.has('P');
    if (given.operands.length < min || given.operands.length > max || needsPattern) {
      out(usage);
      return failed;
    }
    const context: FreeContext = { given, name: command.name, clock, out, err, readFile, host };
    let said: boolean | string = true;
    if (command.run === undefined) said = await command.runFree(context);
    else if (backend !== undefined) said = await command.run({ ...context, backend });
    return { said: typeof said === 'string' ? said : '', isFailed: said === false, isQuit: command.name === 'quit' };
  } catch (error) {
    if (error instanceof OptionError) {
      err(`${error.message}\n`);
      out(usage);
    } else if (error instanceof UsageError) out(`${error.message}\n`);
    else throw error;
    return failed;
  }
}
