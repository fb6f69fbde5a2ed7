/* Scripts about the order of commands around jobs, and about what a backup meets, for the storage daemon. Data only. */
import type { Script } from './qmp-harness.ts';

const file = (name: string, more = ''): string => `{"driver":"file","filename":"${name}"${more}}`;
const add = (node: string, name: string, more = ''): string => `blockdev-add {"driver":"qcow2","node-name":"${node}","file":${file(name)}${more}}`;
const raw = (node: string, name: string, more = ''): string => `blockdev-add {"driver":"raw","node-name":"${node}","file":${file(name)}${more}}`;
const back = (source: string, target: string, more: string): string => `blockdev-backup {"device":"${source}","target":"${target}",${more}}`;
const backup = (more: string): string => back('src', 'tgt', `"job-id":"j",${more}`);
const action = (source: string, target: string, more: string): string =>
  `{"type":"blockdev-backup","data":{"device":"${source}","target":"${target}",${more}}}`;
const transaction = (actions: readonly string[], more = ''): string => `transaction {"actions":[${actions.join(',')}]${more}}`;
const grouped = ',"properties":{"completion-mode":"grouped"}';
const plain = [add('src', 'disk.qcow2'), add('tgt', 'target.qcow2')];
const fleecing = [add('src', 'disk.qcow2'), add('tgt', 'target.qcow2', ',"backing":"src"')];
const listen = 'nbd-server-start {"addr":{"type":"unix","data":{"path":"@/nbd.sock"}}}';
const exported = (id: string, node: string, more = ''): string => `block-export-add {"type":"nbd","id":"${id}","node-name":"${node}","name":"${id}"${more}}`;
const del = (node: string): string => `blockdev-del {"node-name":"${node}"}`;
const gone = 'JOB_STATUS_CHANGE "status": "null"';
const graph = 'x-debug-query-block-graph';

export const jobOrderScripts: readonly Script[] = [
  { name: 'the end with a paused backup', steps: [...plain, backup('"sync":"none"'), 'job-pause {"id":"j"}', 'quit'] },
  { name: 'the end with a pending backup', steps: [...plain, `${backup('"sync":"full","auto-finalize":false')} => BLOCK_JOB_PENDING`, 'quit'] },
  {
    name: 'the end with a concluded backup',
    steps: [...plain, `${backup('"sync":"full","auto-dismiss":false')} => JOB_STATUS_CHANGE "status": "concluded"`, 'quit'],
  },
  { name: 'the end with a slow backup', steps: [...plain, backup('"sync":"full","speed":1'), 'quit'] },
  {
    name: 'two backups of one source in a transaction',
    steps: [
      ...plain,
      add('t2', 'second.qcow2'),
      transaction([
        action('src', 'tgt', '"sync":"none","job-id":"j","filter-node-name":"f1"'),
        action('src', 't2', '"sync":"none","job-id":"k","filter-node-name":"f2"'),
      ]),
      graph,
      'job-cancel {"id":"k"}',
      graph,
      'job-cancel {"id":"j"}',
      graph,
    ],
  },
  {
    name: 'backups of what backups use',
    steps: [
      ...plain,
      add('t2', 'second.qcow2'),
      backup('"sync":"none","filter-node-name":"f1"'),
      back('f1', 't2', '"sync":"none","job-id":"k"'),
      back('tgt', 't2', '"sync":"none","job-id":"k"'),
      back('t2', 'tgt', '"sync":"none","job-id":"k"'),
      'query-jobs',
    ],
  },
  {
    name: 'a group that waits',
    steps: [
      ...plain,
      add('s2', 'base.qcow2'),
      add('t2', 'second.qcow2'),
      `${transaction(
        [
          action('src', 'tgt', '"sync":"full","job-id":"j","auto-finalize":false,"auto-dismiss":false'),
          action('s2', 't2', '"sync":"none","job-id":"k","auto-dismiss":false'),
        ],
        grouped,
      )} => JOB_STATUS_CHANGE "status": "waiting"`,
      'query-jobs',
      'job-finalize {"id":"j"}',
      'job-complete {"id":"j"}',
      'job-pause {"id":"j"}',
      'job-resume {"id":"j"}',
      'block-job-set-speed {"device":"j","speed":1}',
      'job-cancel {"id":"j"}',
      'query-jobs',
      'query-block-jobs',
      graph,
      'job-dismiss {"id":"j"}',
      'job-dismiss {"id":"k"}',
    ],
  },
  {
    name: 'a transaction of individuals',
    steps: [
      ...plain,
      add('s2', 'base.qcow2'),
      add('t2', 'second.qcow2'),
      `${transaction(
        [action('src', 'tgt', '"sync":"full","job-id":"j","auto-finalize":false'), action('s2', 't2', '"sync":"none","job-id":"k"')],
        ',"properties":{"completion-mode":"individual"}',
      )} => BLOCK_JOB_PENDING`,
      'job-cancel {"id":"k"}',
      'query-jobs',
      'job-finalize {"id":"j"}',
    ],
  },
  {
    name: 'a full backup, paused',
    steps: [
      ...plain,
      backup('"sync":"full","speed":1,"auto-dismiss":false'),
      'job-pause {"id":"j"} => JOB_STATUS_CHANGE "status": "paused"',
      'query-block-jobs',
      'job-complete {"id":"j"}',
      'block-job-complete {"device":"j"}',
      'block-job-cancel {"device":"j"}',
      'job-cancel {"id":"j"} => JOB_STATUS_CHANGE "status": "concluded"',
      'query-block-jobs',
    ],
  },
  {
    name: 'exports around a filter',
    steps: [
      ...plain,
      listen,
      backup('"sync":"none","filter-node-name":"f"'),
      exported('x', 'f', ',"writable":true'),
      exported('y', 'src'),
      exported('z', 'tgt'),
      graph,
      'job-cancel {"id":"j"}',
      graph,
      'query-block-exports',
      'block-export-del {"id":"x"}',
      del('src'),
      'nbd-server-stop',
      del('src'),
    ],
  },
  {
    name: 'backups of null-co',
    steps: [
      'blockdev-add {"driver":"null-co","node-name":"a","size":4194304}',
      'blockdev-add {"driver":"null-co","node-name":"b","size":4194304,"read-only":true}',
      back('a', 'b', '"sync":"none","job-id":"j"'),
      back('b', 'a', '"sync":"none","job-id":"j"'),
      'query-named-block-nodes {"flat":true}',
      graph,
      'job-cancel {"id":"j"}',
      `${back('b', 'a', '"sync":"top","job-id":"j"')} => ${gone}`,
      `${back('b', 'a', '"sync":"full","job-id":"j"')} => ${gone}`,
    ],
  },
  {
    name: 'backups of windows of raw',
    steps: [
      raw('w', 'disk.raw', ',"offset":512,"size":1048576'),
      add('small', 'small.qcow2'),
      `${back('w', 'small', '"sync":"full","job-id":"j"')} => ${gone}`,
      raw('w2', 'other.raw', ',"size":1048576'),
      `${back('small', 'w2', '"sync":"top","job-id":"j"')} => ${gone}`,
      back('w', 'w2', '"sync":"none","job-id":"j"'),
      'query-named-block-nodes {"flat":true}',
      'block_resize {"node-name":"w","size":2097152}',
      'block_resize {"node-name":"w2","size":2097152}',
      'job-cancel {"id":"j"}',
    ],
  },
  {
    name: 'names used again',
    steps: [
      ...plain,
      backup('"sync":"none","filter-node-name":"f"'),
      'job-cancel {"id":"j"}',
      backup('"sync":"none","filter-node-name":"f"'),
      add('f', 'second.qcow2'),
      add('j', 'second.qcow2'),
      back('j', 'tgt', '"sync":"none","job-id":"f"'),
      back('j', 'src', '"sync":"none","job-id":"f"'),
      'block-job-cancel {"device":"j","force":true}',
      back('j', 'tgt', '"sync":"none","job-id":"f"'),
      'job-cancel {"id":"f"}',
    ],
  },
  {
    name: 'new nodes on those of a backup',
    steps: [
      ...fleecing,
      backup('"sync":"none","filter-node-name":"f"'),
      'blockdev-add {"driver":"raw","node-name":"r","file":"src"}',
      'blockdev-add {"driver":"raw","node-name":"r2","file":"f"}',
      'blockdev-add {"driver":"raw","node-name":"r3","file":"tgt"}',
      'blockdev-add {"driver":"raw","node-name":"r4","file":"src","read-only":true}',
      add('ov', 'second.qcow2', ',"backing":"f"'),
      'blockdev-add {"driver":"snapshot-access","node-name":"acc","file":"f"}',
      graph,
      'job-cancel {"id":"j"}',
      graph,
      listen,
      exported('a', 'acc'),
      del('acc'),
      'block_resize {"node-name":"r2","size":1048576}',
    ],
  },
  {
    name: 'rights that a preallocate filter asks for',
    steps: [
      'blockdev-add {"driver":"preallocate","node-name":"p","file":{"driver":"file","node-name":"f","filename":"disk.raw"}}',
      'nbd-server-start {"addr":{"type":"unix","data":{"path":"@/nbd.sock"}}}',
      'block-export-add {"type":"nbd","id":"e","node-name":"p","writable":true}',
      'x-debug-query-block-graph',
      'block-export-del {"id":"e"}',
      'blockdev-del {"node-name":"p"}',
      'blockdev-add {"driver":"preallocate","node-name":"p","read-only":true,"file":{"driver":"file","node-name":"f","filename":"disk.raw"}}',
      'block_resize {"node-name":"p","size":1048576}',
    ],
  },
];
