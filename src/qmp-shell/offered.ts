/*
 * Words that the schema allows and that answer something: it is QEMU's with all its drivers and kinds, and this version has
 * fewer. For completion, help and suggestions.
 */
import { driverEntries } from '../engine/drivers.ts';
import type { Transport } from './transport.ts';

/** Of the words that an argument may be those that this version has; all of them where the server is another one. */
export function offeredWords(transport: Transport, command: string, key: string, words: readonly string[]): readonly string[] {
  if (!transport.isOurs) return words;
  const name = key.split('.').at(-1) ?? key;
  if (name === 'driver') return words.filter((word) => driverEntries.some((entry) => entry.name === word));
  const offered = few[`${command} ${key}`];
  return offered === undefined ? words : words.filter((word) => offered.includes(word));
}

/** By command and argument, where this version has fewer words than QEMU. */
const few: Readonly<Record<string, readonly string[]>> = {
  'block-export-add type': ['nbd'],
  'nbd-server-start addr.type': ['inet', 'unix'],
};
