/* Each wrong order's message has advice, and a message that nobody knows has none. */
import { expect, it } from 'vitest';
import { hintFor } from '../../src/qmp-shell/hints.ts';

it.each([
  ["Cannot find device='target0' nor node-name='target0'", "no device or node is called 'target0'"],
  ["Cannot find device='hd0' nor node-name=''", "no device or node is called 'hd0'"],
  ["Could not open 'BACKUP.qcow2': No such file or directory", 'tsimg create -f qcow2 BACKUP.qcow2'],
  ['Image is not in qcow2 format', 'tsimg info'],
  ["Could not open backing file: Cannot find device='nosuch' nor node-name='nosuch'", "called 'nosuch'"],
  ['Failed to get "write" lock', 'open already'],
  ["Duplicate nodes with node-name='src'", 'blockdev-del node-name=src'],
  ["Parameter 'if' is unexpected", 'no interface'],
  ["Parameter 'id' is unexpected", 'node-name=NAME'],
  ["Parameter 'backing' is unexpected", 'driver=qcow2'],
  ["Parameter 'file' is missing", 'file.driver=file'],
  ['NBD server not running', 'nbd-server-start'],
  ['NBD server already running', 'nbd-server-stop'],
  ["Export 'x' is not found", 'query-block-exports'],
  ["Block job 'j' not found", 'query-jobs'],
  ['Job not found', 'query-jobs'],
  ['Source and target cannot be the same', 'another node'],
  ["Invalid job ID ''", 'job-id=NAME'],
  ["Invalid job ID '1bad'", 'a letter first'],
  ['Source and target image have different sizes', 'as large as the source'],
  ['Could not create node: Block node is read-only', 'read-only=false'],
  ["Node 'target0' is busy: block device is in use by block job: backup", 'block-job-cancel'],
  ["Node 'src' is busy: node is used as backing hd of 'target0'", 'blockdev-del node-name=target0'],
  ["Job 'j' in state 'running' cannot accept command verb 'complete'", 'block-job-cancel device=j'],
  ["Job 'j' in state 'running' cannot accept command verb 'dismiss'", 'after the job has ended'],
  ['Node target0 is in use', 'block-export-del'],
  ['Node #block1219 is not owned by the monitor', 'the node above it'],
  ['Block device tmp0 is in use', "built on 'tmp0'"],
  ["Permission conflict on node 'src': permissions 'write' are both required by …", 'graph -v'],
  ["Could not create node: Permission conflict on node 'src': permissions …", 'graph -v'],
  ["Block export id 'target0' is already in use", 'block-export-del id=target0'],
  ["NBD server already has export named 'target0'", 'another name='],
  ["Parameter 'speed' expects a non-negative value", '0 for no limit'],
  ["export 'e' still in use", 'mode=hard'],
  ["Device 'hd0' not found", 'query-block'],
  ["Invalid parameter type for 'addr.data.port', expected: string", 'addr.data.port="…"'],
  ["Invalid parameter type for 'size', expected: integer", 'of type integer'],
])('%s', (message, part) => expect(hintFor(message)).toContain(part));

it('names the format and the file as the command has them', () => {
  const missing = "Could not open 'a b.img': No such file or directory";
  expect(hintFor(missing)).toBe("create it first: tsimg create -f qcow2 'a b.img' SIZE");
  expect(hintFor(missing, { args: { driver: 'raw' }, isHere: true })).toContain('-f raw ');
  expect(hintFor(missing, { args: { driver: 'file' }, isHere: true })).toContain('-f raw ');
});

it('tells how to name a file where a node is expected', () => {
  const message = "Cannot find device='package.json' nor node-name='package.json'";
  const args = { driver: 'qcow2', file: 'package.json' };
  expect(hintFor(message, { args, isHere: true })).toContain('file.driver=file file.filename=package.json');
  expect(hintFor(message, { args, isHere: false })).toContain('no device or node is called');
  expect(hintFor("Cannot find device='nosuch' nor node-name='nosuch'", { args: { file: 'nosuch' }, isHere: true })).toContain('no device or node');
});

it('is silent about what it does not know', () => {
  expect(hintFor('Input/output error')).toBeUndefined();
  expect(hintFor('x NBD server not running')).toBeUndefined();
});
