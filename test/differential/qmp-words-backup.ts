/* The commands of scripts about backups, by short names. */
export const file = (name: string, more = ''): string => `{"driver":"file","filename":"${name}"${more}}`;
export const add = (node: string, name: string, more = ''): string => `blockdev-add {"driver":"qcow2","node-name":"${node}","file":${file(name)}${more}}`;
export const raw = (node: string, name: string, more = ''): string => `blockdev-add {"driver":"raw","node-name":"${node}","file":${file(name)}${more}}`;
export const cbw = (more: string): string => `blockdev-add {"driver":"copy-before-write","node-name":"cbw","file":"src","target":"tgt"${more}}`;
export const back = (source: string, target: string, more: string): string => `blockdev-backup {"device":"${source}","target":"${target}",${more}}`;
export const backup = (more: string): string => back('src', 'tgt', `"job-id":"j",${more}`);
export const action = (source: string, target: string, more: string): string =>
  `{"type":"blockdev-backup","data":{"device":"${source}","target":"${target}",${more}}}`;
export const transaction = (actions: readonly string[], more = ''): string => `transaction {"actions":[${actions.join(',')}]${more}}`;
export const grouped: string = ',"properties":{"completion-mode":"grouped"}';
export const plain: readonly string[] = [add('src', 'disk.qcow2'), add('tgt', 'target.qcow2')];
export const fleecing: readonly string[] = [add('src', 'disk.qcow2'), add('tgt', 'target.qcow2', ',"backing":"src"')];
export const listen: string = 'nbd-server-start {"addr":{"type":"unix","data":{"path":"@/nbd.sock"}}}';
export const exported = (id: string, node: string, more = ''): string =>
  `block-export-add {"type":"nbd","id":"${id}","node-name":"${node}","name":"${id}"${more}}`;
export const del = (node: string): string => `blockdev-del {"node-name":"${node}"}`;
export const gone: string = 'JOB_STATUS_CHANGE "status": "null"';
export const speed = (value: string): string => `block-job-set-speed {"device":"j","speed":${value}}`;
