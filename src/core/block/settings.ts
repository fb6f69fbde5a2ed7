/*
 * What every node obeys whatever its driver: settings read from its options, and what a child takes over from its parent
 * where its own options say nothing.
 */
import { meantValue } from '../util/did-you-mean.ts';
import { BlockError } from '../util/errors.ts';
import { type ChildRoles, childRole } from './driver.ts';
import type { NodeSettings } from './node.ts';
import type { OptionReader } from './options.ts';

/** What a child takes over from its parent when its own options say nothing. */
export interface Inherited {
  readonly readOnly: boolean;
  readonly autoReadOnly: boolean;
  readonly forceShare: boolean;
  readonly noIo: boolean;
  readonly toCheck?: boolean;
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** Children that formats open themselves pass discards on. */
  readonly discard: boolean;
  /** Media of the images above in the backing chain being opened, and the name by which the one above calls this image. */
  readonly overlays?: readonly string[];
  readonly nameInOverlay?: string;
  /** It lies below the node that was asked for, or is the backing file of one that does. */
  readonly isBelow?: boolean;
}

/** Of a node that has no parent. */
export const topInherited: Inherited = { readOnly: false, autoReadOnly: false, forceShare: false, noIo: false, direct: false, noFlush: false, discard: false };

/** For the node below `file` of a node with these settings, which itself is `above`. */
export function inheritedByFile(settings: NodeSettings, roles: ChildRoles, above: Inherited): Inherited {
  return {
    ...above,
    isBelow: true,
    readOnly: settings.readOnly,
    autoReadOnly: (roles & childRole.filtered) !== 0 ? settings.autoReadOnly : true,
    forceShare: settings.forceShare,
    noIo: settings.noIo,
    direct: settings.cache.direct,
    noFlush: settings.cache.noFlush,
    discard: true,
  };
}

/** The options that every node has. */
export const settingNames: readonly string[] = [
  ...['driver', 'node-name', 'read-only', 'auto-read-only', 'force-share', 'discard', 'detect-zeroes', 'cache.direct', 'cache.no-flush', 'active'],
];

/** Takes the settings out of the options. */
export function readSettings(reader: OptionReader, inherited: Inherited): NodeSettings {
  const discardText = reader.string('discard');
  const discard = discardText === undefined ? inherited.discard : parseDiscard(discardText);
  const detectZeroes = reader.enum('detect-zeroes', ['off', 'on', 'unmap'] as const, 'off');
  if (!reader.bool('active', true)) throw new BlockError('Nodes that are inactive are not supported', { code: 'ENOTSUP' });
  const readOnlyGiven = reader.has('read-only');
  const forceShare = reader.bool('force-share', inherited.forceShare);
  return {
    readOnly: reader.bool('read-only', inherited.readOnly),
    autoReadOnly: reader.bool('auto-read-only', readOnlyGiven ? false : inherited.autoReadOnly),
    forceShare,
    noIo: inherited.noIo,
    toCheck: inherited.toCheck ?? false,
    discard,
    detectZeroes,
    cache: { direct: reader.bool('cache.direct', inherited.direct), noFlush: reader.bool('cache.no-flush', inherited.noFlush) },
  };
}

/** What does not go together; told after the errors of the file below. */
export function checkSettings({ forceShare, readOnly, detectZeroes, discard }: NodeSettings): void {
  if (forceShare && !readOnly) throw new BlockError('force-share=on can only be used with read-only images', { code: 'ERR_OPTION' });
  if (detectZeroes === 'unmap' && !discard) {
    throw new BlockError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap', { code: 'ERR_OPTION' });
  }
}

function parseDiscard(text: string): boolean {
  if (text === 'unmap' || text === 'on') return true;
  if (text === 'ignore' || text === 'off') return false;
  throw new BlockError('Invalid discard option', { code: 'ERR_OPTION', hint: meantValue(text, ['ignore', 'off', 'unmap', 'on']) });
}
