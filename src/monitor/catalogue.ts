/* All commands of the monitor. */
import type { AnyCommand } from './command.ts';
import { blockCommands } from './commands/block.ts';
import { jobCommands } from './commands/job.ts';
import { machineCommands } from './commands/machine.ts';
import { nbdCommands } from './commands/nbd.ts';
import { queryCommands } from './commands/query.ts';

export const allCommands: readonly AnyCommand[] = [...queryCommands, ...blockCommands, ...jobCommands, ...nbdCommands, ...machineCommands];
