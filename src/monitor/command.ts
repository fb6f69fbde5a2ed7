/*
 * One definition a command: its arguments (validation, completion, help, introspection all come from the schema), what
 * guards it on the nodes its arguments name, and what it runs. The dispatcher adds nothing to what stands here.
 */
import type { BlockOp } from '../core/block/op-blockers.ts';
import type { JsonObject } from '../core/util/json.ts';
import { enumOf, listOf, optional, type Schema, struct } from '../core/util/schema.ts';
import type { Engine } from '../engine/engine.ts';
import type { Monitor } from './monitor.ts';

/** The operation blocker that the command's operation checks on the node an argument names. */
export interface Guard {
  readonly arg: string;
  readonly op: BlockOp;
}

export interface CommandContext {
  readonly engine: Engine;
  readonly monitor: Monitor;
  /** Tells the user, in one line, how an old form is spelled today. Silent under --strict, where old forms are errors. */
  note(text: string): void;
}

export interface CommandDefinition<A = unknown> {
  readonly name: string;
  readonly summary: string;
  readonly args: Schema<A>;
  readonly returns?: Schema<unknown> | undefined;
  readonly guards: readonly Guard[];
  /** Not in a storage daemon. */
  readonly machineOnly?: boolean;
  /** Deprecated in QEMU 11.1. */
  readonly deprecated?: boolean;
  /** What a deprecated command is replaced by: told in a note. */
  readonly today?: string;
  /** QEMU may change it at any time. */
  readonly unstable?: boolean;
  /** No command of QEMU's: absent under --strict. */
  readonly isOwn?: boolean;
  /** Rewrites an old form of the arguments into today's; not called under --strict. */
  readonly upgrade?: (args: JsonObject, context: CommandContext) => JsonObject;
  run(args: A, context: CommandContext): Promise<unknown> | unknown;
}

/** A definition whose arguments have been erased for the catalogue. */
export type AnyCommand = CommandDefinition<never>;

/** qmp_capabilities is answered by the session itself. */
export const capabilitiesArguments: Schema<{ enable?: 'oob'[] | undefined }> = struct({ enable: optional(listOf(enumOf('QMPCapability', ['oob']))) });

export const noArguments: Schema<Record<never, never>> = struct({});

export function defineCommand<A>(definition: CommandDefinition<A>): AnyCommand {
  return definition as CommandDefinition<unknown> as AnyCommand;
}
