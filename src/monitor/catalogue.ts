/* All commands of the monitor, in the order in which QEMU lists those that it has too; our own come last. */
import type { AnyCommand } from './command.ts';
import { blockCommands } from './commands/block.ts';
import { jobCommands } from './commands/job.ts';
import { machineCommands } from './commands/machine.ts';
import { nbdCommands } from './commands/nbd.ts';
import { queryCommands } from './commands/query.ts';

const order: readonly string[] = (
  'human-monitor-command cont stop object-del object-add qom-set qom-get query-qmp-schema quit query-commands query-version qmp_capabilities ' +
  'transaction query-block-exports block-export-del block-export-add nbd-server-stop nbd-server-remove nbd-server-add nbd-server-start ' +
  'blockdev-del blockdev-add block-job-finalize block-job-dismiss block-job-complete block-job-resume block-job-pause block-job-cancel ' +
  'block-job-set-speed block-dirty-bitmap-merge block-dirty-bitmap-disable block-dirty-bitmap-enable block-dirty-bitmap-clear ' +
  'block-dirty-bitmap-remove block-dirty-bitmap-add x-debug-query-block-graph query-named-block-nodes blockdev-backup block_resize query-block-jobs query-blockstats ' +
  'query-block eject query-jobs job-finalize job-dismiss job-complete job-cancel job-resume job-pause query-status'
).split(' ');

function place({ name }: AnyCommand): number {
  const at = order.indexOf(name);
  return at < 0 ? order.length : at;
}

export const allCommands: readonly AnyCommand[] = [...queryCommands, ...blockCommands, ...jobCommands, ...nbdCommands, ...machineCommands].sort(
  (a, b) => place(a) - place(b),
);
