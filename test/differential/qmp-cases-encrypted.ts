/* Scripts about encrypted nodes: secrets, wrong ones, headers apart, what is told of them. Data only. */
import type { Script } from './qmp-harness.ts';

/** Images that these scripts use, by the words of the peer's qemu-img. */
export const encryptedFixture: readonly (readonly string[])[] = [
  ['create', '-q', '--object', 'secret,id=s,data=abc', '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'vault.luks', '1M'],
  ['create', '-q', '--object', 'secret,id=s,data=abc', '-f', 'luks', '-o', 'key-secret=s,iter-time=10,detached-header=on', 'header.luks', '1M'],
  [
    'create',
    '-q',
    '--object',
    'secret,id=s,data=abc',
    '-f',
    'qcow2',
    '-o',
    'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10',
    'vault.qcow2',
    '1M',
  ],
];

export const encryptedScripts: readonly Script[] = [
  {
    name: 'encrypted nodes',
    steps: [
      'object-add {"qom-type":"secret","id":"s","data":"abc"}',
      'object-add {"qom-type":"secret","id":"w","data":"wrong"}',
      'object-add {"qom-type":"secret","id":"b","data":"/w==","format":"base64"}',
      'object-add {"qom-type":"throttle-group","id":"t"}',
      'blockdev-add {"driver":"luks","node-name":"l","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"none","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"w","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"b","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"t","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":7,"file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"s","foo":1,"file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"s","file":{"driver":"file","filename":"@/disk.raw"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"s"}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"s","file":{"driver":"file","filename":"@/header.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"l","key-secret":"s","file":{"driver":"file","filename":"@/vault.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"d","key-secret":"s","file":{"driver":"file","filename":"@/disk.raw"},"header":{"driver":"file","filename":"@/header.luks"}}',
      'blockdev-add {"driver":"luks","node-name":"d2","key-secret":"s","file":{"driver":"file","filename":"@/other.raw"},"header":"none"}',
      'query-named-block-nodes {"flat":true}',
      'object-del {"id":"s"}',
      'blockdev-add {"driver":"luks","node-name":"l2","key-secret":"s","read-only":true,"file":{"driver":"file","filename":"@/vault.luks"}}',
      'block_resize {"node-name":"l","size":2097152}',
      'block_resize {"node-name":"l","size":1000}',
      'blockdev-del {"node-name":"l"}',
      'blockdev-del {"node-name":"d"}',
    ],
  },
  {
    name: 'encrypted nodes of qcow2',
    steps: [
      'object-add {"qom-type":"secret","id":"s","data":"abc"}',
      'object-add {"qom-type":"secret","id":"w","data":"wrong"}',
      'blockdev-add {"driver":"qcow2","node-name":"q","file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"key-secret":"s"},"file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"format":"luks"},"file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"format":"aes","key-secret":"s"},"file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"format":"luks","key-secret":"w"},"file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"format":"luks","key-secret":"s"},"file":{"driver":"file","filename":"@/disk.qcow2"}}',
      'blockdev-add {"driver":"qcow2","node-name":"q","encrypt":{"format":"luks","key-secret":"s"},"file":{"driver":"file","filename":"@/vault.qcow2"}}',
      'query-named-block-nodes {"flat":true}',
      'block_resize {"node-name":"q","size":2097152}',
      'blockdev-del {"node-name":"q"}',
    ],
  },
];
