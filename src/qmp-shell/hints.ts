/*
 * Advice for wrong orders: what to do first. QEMU's error line comes before and unchanged; a hint is a line of its own.
 */

interface Advice {
  readonly when: RegExp;
  readonly hint: string | ((match: RegExpExecArray) => string);
}

const advice: readonly Advice[] = [
  {
    when: /^Cannot find device='(\S*)' nor node-name='(\S*)'$/,
    hint: (match) => `no device or node is called '${match[1] || match[2]}': add it with blockdev-add first, or see 'graph' for the names`,
  },
  { when: /^Failed to find node with node-name='(.*)'$/, hint: "see 'graph' for the names of nodes" },
  { when: /^Could not open '(.*)': No such file or directory$/, hint: (match) => `create it first: tsimg create -f qcow2 ${match[1]} SIZE` },
  { when: /^Image is not in qcow2 format$/, hint: "look at the file with 'tsimg info', or give driver=raw" },
  { when: /^Duplicate nodes with node-name=/, hint: 'blockdev-del the other node, or choose another node-name' },
  { when: /^NBD server not running$/, hint: 'start it first: nbd-server-start addr.type=unix addr.data.path=/tmp/fleece.sock' },
  { when: /^NBD server already running$/, hint: 'nbd-server-stop ends it; exports can be added to the running one' },
  { when: /^Export '(.*)' is not found$/, hint: 'query-block-exports lists the exports' },
  { when: /^export '(.*)' still in use$/i, hint: 'clients are connected: let them finish, or use mode=hard' },
  { when: /^Invalid job ID ''$/, hint: 'a node has no job id of its own: give job-id=NAME' },
  { when: /^Job ID '(.*)' already in use$/, hint: 'query-jobs lists the jobs; choose another job-id' },
  {
    when: /^Source and target image have different sizes$/,
    hint: "the target must be as large as the source: see 'query-block', then tsimg create with that size",
  },
  { when: /^Source and target cannot be the same$/, hint: 'back up to another node: an empty qcow2 whose backing is the source' },
  {
    when: /^Node '(.*)' is busy: block device is in use by block job: backup$/,
    hint: "a backup uses it: end the job first (block-job-cancel device=JOB), see 'query-jobs' and 'blockers'",
  },
  { when: /^Node '(.*)' is busy: node is used as backing hd of '(.*)'$/, hint: (match) => `blockdev-del node-name=${match[2]} first, which reads through it` },
  { when: /^Node (\S+) is in use$/, hint: 'it is exported or under a device: remove the export first (nbd-server-remove name=… or block-export-del id=…)' },
  { when: /^Block device (\S+) is in use$/, hint: "another node is built on it: see 'graph', delete that first" },
  {
    when: /^Job '(.*)' in state '(.*)' cannot accept command verb 'complete'$/,
    hint: 'a backup with sync=none never becomes ready: end it with block-job-cancel',
  },
  { when: /^Block job '(.*)' not found$|^Job not found$/, hint: 'query-jobs lists the jobs' },
  { when: /^Permission conflict on node '(.*?)'/, hint: "'graph -v' shows who uses the node and what each one needs and shares" },
  { when: /Block node is read-only$/, hint: 'add the node with read-only=false' },
  { when: /^'node-name' must be specified for the root node$/, hint: 'give node-name=NAME' },
];

/** What to do about an error text, if there is advice. */
export function hintFor(message: string): string | undefined {
  const bare = message.replace(/^Could not create node: /, '');
  for (const { when, hint } of advice) {
    const match = when.exec(message) ?? when.exec(bare);
    if (match !== null) return typeof hint === 'string' ? hint : hint(match);
  }
  return undefined;
}
