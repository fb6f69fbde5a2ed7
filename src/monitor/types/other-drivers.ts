/*
 * Options of drivers that QEMU has and this engine has not: their names and members are known, so that a call is checked as
 * QEMU checks it before it is told `Unknown driver`. Data only. Rule source: query-qmp-schema of QEMU 11.1.
 */
import { bool, enumOf, int64, lazy, listOf, optional, type Schema, str, struct, union, withFeatures } from '../../core/util/schema.ts';
import { inetSocketAddress, socketAddress } from './common.ts';
import type { NodeTypes } from './driver-schema.ts';

/** Options by driver. The types of children are the caller's: they contain these. */
export function otherDrivers({ ref, refOrNull, genericFormat, genericCow }: NodeTypes): Readonly<Record<string, Schema<object>>> {
  const blockdevOptionsBlkreplay = struct('BlockdevOptionsBlkreplay', { image: ref });
  const blockdevOptionsCurlFtp = struct('BlockdevOptionsCurlFtp', {
    url: str,
    readahead: optional(int64),
    timeout: optional(int64),
    username: optional(str),
    'password-secret': optional(str),
    'proxy-username': optional(str),
    'proxy-password-secret': optional(str),
  });
  const blockdevOptionsCurlFtps = struct('BlockdevOptionsCurlFtps', {
    url: str,
    readahead: optional(int64),
    timeout: optional(int64),
    username: optional(str),
    'password-secret': optional(str),
    'proxy-username': optional(str),
    'proxy-password-secret': optional(str),
    sslverify: optional(bool),
  });
  const blockdevOptionsCurlHttp = struct('BlockdevOptionsCurlHttp', {
    url: str,
    readahead: optional(int64),
    timeout: optional(int64),
    username: optional(str),
    'password-secret': optional(str),
    'proxy-username': optional(str),
    'proxy-password-secret': optional(str),
    cookie: optional(str),
    'cookie-secret': optional(str),
    'force-range': optional(bool),
  });
  const blockdevOptionsCurlHttps = struct('BlockdevOptionsCurlHttps', {
    url: str,
    readahead: optional(int64),
    timeout: optional(int64),
    username: optional(str),
    'password-secret': optional(str),
    'proxy-username': optional(str),
    'proxy-password-secret': optional(str),
    cookie: optional(str),
    'cookie-secret': optional(str),
    'force-range': optional(bool),
    sslverify: optional(bool),
  });
  const blockdevOptionsIoUring = struct('BlockdevOptionsIoUring', { filename: str });
  const iscsiTransport = enumOf('IscsiTransport', ['tcp', 'iser']);
  const iscsiHeaderDigest = enumOf('IscsiHeaderDigest', ['crc32c', 'none', 'crc32c-none', 'none-crc32c']);
  const blockdevOptionsIscsi = struct('BlockdevOptionsIscsi', {
    transport: iscsiTransport,
    portal: str,
    target: str,
    lun: optional(int64),
    user: optional(str),
    'password-secret': optional(str),
    'initiator-name': optional(str),
    'header-digest': optional(iscsiHeaderDigest),
    timeout: optional(int64),
  });
  const blockdevOptionsLUKS = struct('BlockdevOptionsLUKS', { file: ref, 'key-secret': optional(str), header: optional(ref) });
  const blockdevOptionsNbd = struct('BlockdevOptionsNbd', {
    server: socketAddress,
    export: optional(str),
    'tls-creds': optional(str),
    'tls-hostname': optional(str),
    'x-dirty-bitmap': withFeatures(optional(str), ['unstable']),
    'reconnect-delay': optional(int64),
    'open-timeout': optional(int64),
  });
  const nfsTransport = enumOf('NFSTransport', ['inet']);
  const nfsServer = struct('NFSServer', { type: nfsTransport, host: str });
  const blockdevOptionsNfs = struct('BlockdevOptionsNfs', {
    server: nfsServer,
    path: str,
    user: optional(int64),
    group: optional(int64),
    'tcp-syn-count': optional(int64),
    'readahead-size': optional(int64),
    'page-cache-size': optional(int64),
    debug: optional(int64),
  });
  const blockdevOptionsNVMe = struct('BlockdevOptionsNVMe', { device: str, namespace: int64 });
  const blockdevOptionsNvmeIoUring = struct('BlockdevOptionsNvmeIoUring', { path: str });
  const qCryptoBlockOptionsQCow = struct('QCryptoBlockOptionsQCow', { 'key-secret': optional(str) });
  const blockdevQcowEncryptionFormat = enumOf('BlockdevQcowEncryptionFormat', ['aes']);
  const blockdevQcowEncryption = union('BlockdevQcowEncryption', {
    base: { format: blockdevQcowEncryptionFormat },
    tag: 'format',
    branches: { aes: qCryptoBlockOptionsQCow },
  });
  const blockdevOptionsQcow = struct('BlockdevOptionsQcow', { file: ref, backing: optional(refOrNull), encrypt: optional(blockdevQcowEncryption) });
  const rbdEncryptionOptionsLUKS = struct('RbdEncryptionOptionsLUKS', { 'key-secret': str });
  const rbdEncryptionOptionsLUKS2 = struct('RbdEncryptionOptionsLUKS2', { 'key-secret': str });
  const rbdEncryptionOptionsLUKSAny = struct('RbdEncryptionOptionsLUKSAny', { 'key-secret': str });
  const rbdImageEncryptionFormat = enumOf('RbdImageEncryptionFormat', ['luks', 'luks2', 'luks-any']);
  const rbdEncryptionOptions: Schema<object> = union('RbdEncryptionOptions', {
    base: { format: rbdImageEncryptionFormat, parent: optional(lazy(() => rbdEncryptionOptions)) },
    tag: 'format',
    branches: { luks: rbdEncryptionOptionsLUKS, luks2: rbdEncryptionOptionsLUKS2, 'luks-any': rbdEncryptionOptionsLUKSAny },
  });
  const rbdAuthMode = enumOf('RbdAuthMode', ['cephx', 'none']);
  const inetSocketAddressBase = struct('InetSocketAddressBase', { host: str, port: str });
  const blockdevOptionsRbd = struct('BlockdevOptionsRbd', {
    pool: str,
    namespace: optional(str),
    image: str,
    conf: optional(str),
    snapshot: optional(str),
    encrypt: optional(rbdEncryptionOptions),
    user: optional(str),
    'auth-client-required': optional(listOf(rbdAuthMode)),
    'key-secret': optional(str),
    server: optional(listOf(inetSocketAddressBase)),
  });
  const replicationMode = enumOf('ReplicationMode', ['primary', 'secondary']);
  const blockdevOptionsReplication = struct('BlockdevOptionsReplication', { file: ref, mode: replicationMode, 'top-id': optional(str) });
  const sshHostKeyCheckHashType = enumOf('SshHostKeyCheckHashType', ['md5', 'sha1', 'sha256']);
  const sshHostKeyHash = struct('SshHostKeyHash', { type: sshHostKeyCheckHashType, hash: str });
  const sshHostKeyCheckMode = enumOf('SshHostKeyCheckMode', ['none', 'hash', 'known_hosts']);
  const sshHostKeyCheck = union('SshHostKeyCheck', { base: { mode: sshHostKeyCheckMode }, tag: 'mode', branches: { hash: sshHostKeyHash } });
  const blockdevOptionsSsh = struct('BlockdevOptionsSsh', {
    server: inetSocketAddress,
    path: str,
    user: optional(str),
    'host-key-check': optional(sshHostKeyCheck),
  });
  const blockdevOptionsVirtioBlkVfioPci = struct('BlockdevOptionsVirtioBlkVfioPci', { path: str });
  const blockdevOptionsVirtioBlkVhostUser = struct('BlockdevOptionsVirtioBlkVhostUser', { path: str });
  const blockdevOptionsVirtioBlkVhostVdpa = struct('BlockdevOptionsVirtioBlkVhostVdpa', { path: str }, { features: ['fdset'] });
  const blockdevOptionsVVFAT = struct('BlockdevOptionsVVFAT', {
    dir: str,
    'fat-type': optional(int64),
    floppy: optional(bool),
    label: optional(str),
    rw: optional(bool),
  });
  return {
    blkreplay: blockdevOptionsBlkreplay,
    bochs: genericFormat,
    cloop: genericFormat,
    dmg: genericFormat,
    ftp: blockdevOptionsCurlFtp,
    ftps: blockdevOptionsCurlFtps,
    http: blockdevOptionsCurlHttp,
    https: blockdevOptionsCurlHttps,
    io_uring: blockdevOptionsIoUring,
    iscsi: blockdevOptionsIscsi,
    luks: blockdevOptionsLUKS,
    nbd: blockdevOptionsNbd,
    nfs: blockdevOptionsNfs,
    nvme: blockdevOptionsNVMe,
    'nvme-io_uring': blockdevOptionsNvmeIoUring,
    parallels: genericFormat,
    qcow: blockdevOptionsQcow,
    qed: genericCow,
    rbd: blockdevOptionsRbd,
    replication: blockdevOptionsReplication,
    ssh: blockdevOptionsSsh,
    vdi: genericFormat,
    vhdx: genericFormat,
    'virtio-blk-vfio-pci': blockdevOptionsVirtioBlkVfioPci,
    'virtio-blk-vhost-user': blockdevOptionsVirtioBlkVhostUser,
    'virtio-blk-vhost-vdpa': blockdevOptionsVirtioBlkVhostVdpa,
    vmdk: genericCow,
    vpc: genericFormat,
    vvfat: blockdevOptionsVVFAT,
  };
}
