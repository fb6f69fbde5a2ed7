/* The shell's own commands: how each is used, and what it does. */
import { guestUsages } from './guest.ts';

type OwnCommand = readonly [usage: string, text: string];

const everywhere: readonly OwnCommand[] = [
  ['graph [-v]', 'the block graph as a tree; -v: what each edge needs and shares'],
  ['transaction( … )', 'several actions at one instant: one a line, then )'],
  ['wait EVENT [key=value …] [timeout=30s]', 'wait for an event, one that came before included'],
  ['expect-error CLASS ["TEXT"] COMMAND', 'COMMAND has to fail with this class, and with this text in its message'],
  ['! COMMAND', 'run a line of the system’s shell'],
  ['pretty [on|off|auto]', 'replies over several lines, in one line, or as they fit into the terminal; without a word: change'],
  ['help [COMMAND [driver=NAME]]', 'this text, or one command, with the options of a driver'],
  ['exit, quit, Ctrl-D', 'end'],
];

/** They look into the machine: a server does not let us. */
const inside: readonly OwnCommand[] = [
  ['blockers [NODE]', 'which operations are blocked on which node, why and by whom'],
  ['map NODE', 'what is allocated where, and what copy-before-write has saved'],
  ...guestUsages,
];

/** The shell's own commands; those that look into the machine too when it is in this process. */
export function ownCommands(isInside: boolean): readonly OwnCommand[] {
  const [first, ...rest] = everywhere;
  if (!isInside || first === undefined) return everywhere;
  return [first, ...inside, ...rest];
}

/** The word that a usage begins with. */
export function ownName(usage: string): string {
  return usage.split(/[\s(,]/)[0] ?? '';
}
