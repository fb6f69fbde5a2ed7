/* What a row of the faults list is: a scene that is played on a checkout, and the one right outcome. */
import type { Stage } from './stage.ts';

/** The kinds under which faults were found; every fault names the one that its mechanism belongs to. */
export const faultKinds = [
  'numbers',
  'write order',
  'locks',
  'names',
  'ENOSPC',
  'devices',
  'hostile images',
  'starvation',
  'opening',
  'closing',
  'memory',
  'repair',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly name: string;
  readonly kind: FaultKind;
  /** Peers that the scene needs. */
  readonly peers?: readonly string[];
  /** Needs root, for loop devices and mounts. */
  readonly needsRoot?: boolean;
  /** What `play` returns when all is well: one short line a person can read. */
  readonly expected: string;
  /** Plays the scene on the checkout of `stage`. Returns what came of it; may throw, which counts as another outcome. */
  play(stage: Stage): Promise<string>;
}
