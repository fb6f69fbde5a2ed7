/* QAPI types that several others use. Data only. Rule source: query-qmp-schema of QEMU 11.1. */
import { bool, enumOf, int64, optional, type Schema, str, struct, uint16, union } from '../../core/util/schema.ts';

export interface InetAddress {
  host: string;
  port: string;
}

export const onCbwError: Schema<'break-guest-write' | 'break-snapshot'> = enumOf('OnCbwError', ['break-guest-write', 'break-snapshot']);

export const inetSocketAddress: Schema<InetAddress> = struct('InetSocketAddress', {
  host: str,
  port: str,
  numeric: optional(bool),
  to: optional(uint16),
  ipv4: optional(bool),
  ipv6: optional(bool),
  'keep-alive': optional(bool),
  'keep-alive-count': optional(int64),
  'keep-alive-idle': optional(int64),
  'keep-alive-interval': optional(int64),
  mptcp: optional(bool),
});
const unixSocketAddress = struct('UnixSocketAddress', { path: str, abstract: optional(bool), tight: optional(bool) });
const vsockSocketAddress = struct('VsockSocketAddress', { cid: str, port: str });
const fdSocketAddress = struct('FdSocketAddress', { str });
const socketAddressType = enumOf('SocketAddressType', ['inet', 'unix', 'vsock', 'fd']);

export type FlatAddress = ({ type: 'inet' } & InetAddress) | { type: 'unix'; path: string } | { type: 'vsock' } | { type: 'fd'; str: string };

/** The flat form: of command-line options, and wherever an address is young. */
export const socketAddress: Schema<FlatAddress> = union('SocketAddress', {
  base: { type: socketAddressType },
  tag: 'type',
  branches: { inet: inetSocketAddress, unix: unixSocketAddress, vsock: vsockSocketAddress, fd: fdSocketAddress },
});

/** nbd-server-start's form: the members of an address under `data`. */
export type LegacyAddress =
  | { type: 'inet'; data: InetAddress }
  | { type: 'unix'; data: { path: string } }
  | { type: 'vsock'; data: unknown }
  | { type: 'fd'; data: { str: string } };

export const socketAddressLegacy: Schema<LegacyAddress> = union('SocketAddressLegacy', {
  base: { type: socketAddressType },
  tag: 'type',
  branches: {
    inet: struct('InetSocketAddressWrapper', { data: inetSocketAddress }),
    unix: struct('UnixSocketAddressWrapper', { data: unixSocketAddress }),
    vsock: struct('VsockSocketAddressWrapper', { data: vsockSocketAddress }),
    fd: struct('FdSocketAddressWrapper', { data: fdSocketAddress }),
  },
});
