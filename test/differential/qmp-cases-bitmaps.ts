/* Scripts about dirty bitmaps that are kept on the medium, and about backups of what bitmaps have. Data only. */
import type { Script } from './qmp-harness.ts';

const file = (name: string): string => `{"driver":"file","filename":"${name}"}`;
const add = (node: string, name: string): string => `blockdev-add {"driver":"qcow2","node-name":"${node}","file":${file(name)}}`;
const back = (source: string, target: string, more: string): string => `blockdev-backup {"device":"${source}","target":"${target}",${more}}`;
const backup = (more: string): string => back('src', 'tgt', `"job-id":"j",${more}`);
const cbw = (more: string): string => `blockdev-add {"driver":"copy-before-write","node-name":"cbw","file":"src","target":"tgt"${more}}`;
const action = (source: string, target: string, more: string): string =>
  `{"type":"blockdev-backup","data":{"device":"${source}","target":"${target}",${more}}}`;
const transaction = (actions: readonly string[]): string => `transaction {"actions":[${actions.join(',')}]}`;
const gone = 'JOB_STATUS_CHANGE "status": "null"';
const marked = [add('src', 'marked.qcow2'), add('tgt', 'target.qcow2'), `blockdev-add {"driver":"raw","node-name":"other","file":${file('other.raw')}}`];

export const bitmapScripts: readonly Script[] = [
  {
    name: 'dirty bitmaps that are kept on the medium',
    steps: [
      'blockdev-add {"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"disk.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"v2","file":{"driver":"file","filename":"old.qcow2"}}',
      'blockdev-add {"driver":"raw","node-name":"over","file":"n"}',
      'block-dirty-bitmap-add {"node":"v2","name":"b","persistent":true}',
      'block-dirty-bitmap-add {"node":"over","name":"b","persistent":true}',
      'block-dirty-bitmap-add {"node":"n","name":"","persistent":true}',
      'block-dirty-bitmap-add {"node":"n","name":"b","persistent":true,"granularity":7}',
      `block-dirty-bitmap-add {"node":"n","name":"${'y'.repeat(1024)}","persistent":true}`,
      'block-dirty-bitmap-add {"node":"n","name":"b","persistent":true,"granularity":512}',
      'block-dirty-bitmap-add {"node":"n","name":"b","persistent":true}',
      'block-dirty-bitmap-add {"node":"n","name":"c","persistent":true,"disabled":true}',
      'block-dirty-bitmap-add {"node":"n","name":"d","persistent":true,"granularity":2147483648}',
      'block-dirty-bitmap-add {"node":"n","name":"t"}',
      'block-dirty-bitmap-merge {"node":"n","target":"c","bitmaps":["b"]}',
      'query-named-block-nodes {"flat":true}',
      'blockdev-del {"node-name":"over"}',
      'blockdev-del {"node-name":"n"}',
      'blockdev-add {"driver":"qcow2","node-name":"n","read-only":true,"file":{"driver":"file","filename":"disk.qcow2"}}',
      'query-named-block-nodes {"flat":true}',
      'block-dirty-bitmap-remove {"node":"n","name":"c"}',
      'block-dirty-bitmap-add {"node":"n","name":"c","persistent":true}',
      'block-dirty-bitmap-clear {"node":"n","name":"c"}',
      'block-dirty-bitmap-add {"node":"n","name":"m"}',
      'block-dirty-bitmap-merge {"node":"n","target":"m","bitmaps":["c"]}',
      'block-dirty-bitmap-merge {"node":"n","target":"c","bitmaps":["m"]}',
      'block-dirty-bitmap-disable {"node":"n","name":"c"}',
      'blockdev-del {"node-name":"n"}',
      'blockdev-add {"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"disk.qcow2"}}',
      'block-dirty-bitmap-remove {"node":"n","name":"c"}',
      'block-dirty-bitmap-remove {"node":"n","name":"c"}',
      'transaction {"actions":[{"type":"block-dirty-bitmap-remove","data":{"node":"n","name":"b"}},{"type":"abort","data":{}}]}',
      'transaction {"actions":[{"type":"block-dirty-bitmap-remove","data":{"node":"n","name":"d"}},{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"e","persistent":true}}]}',
      'query-named-block-nodes {"flat":true}',
      'blockdev-del {"node-name":"n"}',
      'blockdev-add {"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"disk.qcow2"}}',
      'query-named-block-nodes {"flat":true}',
    ],
  },
  {
    name: 'what a bitmap has, with the wrong arguments',
    steps: [
      ...marked,
      backup('"sync":"full","bitmap":"nosuch"'),
      backup('"sync":"full","bitmap":"b0"'),
      backup('"sync":"none","bitmap":"b0","bitmap-mode":"always"'),
      backup('"sync":"top","bitmap":"b0","bitmap-mode":"never"'),
      backup('"sync":"full","bitmap-mode":"never"'),
      backup('"sync":"bitmap"'),
      backup('"sync":"bitmap","bitmap":"b0"'),
      backup('"sync":"bitmap","bitmap":"nosuch"'),
      backup('"sync":"incremental"'),
      backup('"sync":"incremental","bitmap":"b0","bitmap-mode":"never"'),
      backup('"sync":"bitmap","bitmap":"b0","bitmap-mode":"on-success","x-perf":{"max-workers":0}'),
      back('src', 'src', '"sync":"incremental","bitmap":"b0","job-id":"j"'),
      'query-named-block-nodes {"flat":true}',
    ],
  },
  ...['on-success', 'never', 'always'].flatMap((mode) =>
    ['job-finalize', 'job-cancel'].map((verb) => ({
      name: `what a bitmap has, bitmap-mode ${mode}, ${verb}`,
      steps: [
        ...marked,
        `${backup(`"sync":"bitmap","bitmap":"fine","bitmap-mode":"${mode}","auto-finalize":false`)} => BLOCK_JOB_PENDING`,
        'query-block-jobs',
        'query-named-block-nodes {"flat":true}',
        'block-dirty-bitmap-remove {"node":"src","name":"fine"}',
        'block-dirty-bitmap-merge {"node":"src","target":"b0","bitmaps":["fine"]}',
        back('src', 'other', '"sync":"incremental","bitmap":"fine","job-id":"k"'),
        `${verb} {"id":"j"} => ${gone}`,
        'query-named-block-nodes {"flat":true}',
      ],
    })),
  ),
  {
    name: 'what changed since a backup, and a full one that begins a bitmap anew',
    steps: [
      ...marked,
      `${backup('"sync":"incremental","bitmap":"b0"')} => ${gone}`,
      `${backup('"sync":"incremental","bitmap":"b0"')} => ${gone}`,
      `${backup('"sync":"full","bitmap":"fine","bitmap-mode":"always"')} => ${gone}`,
      `${backup('"sync":"top","bitmap":"fine","bitmap-mode":"on-success"')} => ${gone}`,
      'query-named-block-nodes {"flat":true}',
    ],
  },
  {
    name: 'a transaction whose actions name what the ones before made',
    steps: [
      ...marked,
      transaction([
        '{"type":"block-dirty-bitmap-add","data":{"node":"src","name":"b1","disabled":true}}',
        '{"type":"block-dirty-bitmap-merge","data":{"node":"src","target":"b1","bitmaps":["b0","fine"]}}',
        action('src', 'tgt', '"sync":"bitmap","bitmap":"b1","bitmap-mode":"never","job-id":"j","auto-finalize":false'),
        '{"type":"abort","data":{}}',
      ]),
      'query-named-block-nodes {"flat":true}',
      `${transaction([
        '{"type":"block-dirty-bitmap-add","data":{"node":"src","name":"b1","disabled":true}}',
        '{"type":"block-dirty-bitmap-merge","data":{"node":"src","target":"b1","bitmaps":["b0","fine"]}}',
        action('src', 'tgt', '"sync":"bitmap","bitmap":"b1","bitmap-mode":"never","job-id":"j","auto-finalize":false'),
        '{"type":"block-dirty-bitmap-clear","data":{"node":"src","name":"b0"}}',
      ])} => BLOCK_JOB_PENDING`,
      'query-block-jobs',
      `job-finalize {"id":"j"} => ${gone}`,
      'query-named-block-nodes {"flat":true}',
    ],
  },
  {
    name: 'a filter that keeps what a bitmap has',
    steps: [
      ...marked,
      add('small', 'small.qcow2'),
      'block-dirty-bitmap-add {"node":"small","name":"b"}',
      cbw(',"bitmap":{"node":"small","name":"b"}'),
      cbw(',"bitmap":{"node":"src","name":"fine"}'),
      'query-named-block-nodes {"flat":true}',
      'blockdev-add {"driver":"snapshot-access","node-name":"view","file":"cbw"}',
      'block-dirty-bitmap-remove {"node":"src","name":"fine"}',
      'query-named-block-nodes {"flat":true}',
    ],
  },
  {
    name: 'a persistent bitmap for a reader that could not keep one',
    steps: [
      'blockdev-add {"driver":"raw","node-name":"n","read-only":true,"file":{"driver":"file","filename":"disk.raw"}}',
      'block-dirty-bitmap-add {"node":"n","name":"b","persistent":true}',
      'block-dirty-bitmap-add {"node":"n","name":"b"}',
    ],
  },
];
