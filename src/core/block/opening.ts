/* What the parts of one opening share: its surroundings, the subtree that grows, and the way to open a node. Types only. */
import type { ObjectSource } from '../objects/object.ts';
import type { OpenStorage } from '../storage/storage.ts';
import type { Clock } from '../util/clock.ts';
import type { Gate, OpenPolicy } from './gate.ts';
import type { Graph } from './graph.ts';
import type { BlockNode } from './node.ts';
import type { FilenameContext, OptionTree } from './options.ts';
import type { DriverRegistry } from './registry.ts';
import type { Inherited } from './settings.ts';
import type { Subtree } from './unpublished.ts';

export interface OpenContext {
  readonly graph: Graph;
  readonly registry: DriverRegistry;
  readonly openStorage: OpenStorage;
  readonly clock: Clock;
  /** Decides about what images name. */
  readonly policy: OpenPolicy;
  readonly objects: ObjectSource;
  emit(event: string, data: Readonly<Record<string, unknown>>): void;
}

export interface Opening {
  readonly context: OpenContext;
  readonly names: FilenameContext;
  readonly subtree: Subtree;
  readonly gate: Gate;
  /** Opens a node with what is below it. `file`: without a driver its filename tells the protocol; `format`: it is probed. */
  open(options: OptionTree, inherited: Inherited, role: 'format' | 'file'): Promise<BlockNode>;
}
