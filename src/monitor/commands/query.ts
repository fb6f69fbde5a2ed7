/* Commands that only tell: nodes, devices, the graph, version, commands, the schema. */

import { BlockBackend } from '../../core/block/backend.ts';
import type { Child, Parent } from '../../core/block/child.ts';
import { blockDeviceInfo, blockGraph, deviceStats, type GraphUser, nodeStats } from '../../core/block/device-info.ts';
import { bool, listOf, optional, struct } from '../../core/util/schema.ts';
import { introspect } from '../../core/util/schema-introspect.ts';
import type { Engine } from '../../engine/engine.ts';
import type { DiskDevice } from '../../machine/disk-device.ts';
import { type AnyCommand, capabilitiesArguments, defineCommand, noArguments } from '../command.ts';
import { versionInfo as currentVersion } from '../monitor.ts';
import { monitorEvents } from '../types/events.ts';
import {
  blockDeviceInfo as blockDeviceInfoType,
  blockInfo as blockInfoType,
  blockStats,
  commandInfo,
  schemaInfo,
  versionInfo,
  xDbgBlockGraph,
} from '../types/results.ts';

async function blockInfo(disk: DiskDevice, flat: boolean): Promise<Record<string, unknown>> {
  const { node } = disk;
  return {
    device: disk.hasDrive ? disk.id : '',
    ...(disk.isAttached ? { qdev: disk.id } : {}),
    type: 'unknown',
    removable: !disk.isAttached,
    locked: false,
    ...(node === undefined ? {} : { inserted: await blockDeviceInfo(node, flat) }),
    ...(node === undefined || !disk.isAttached ? {} : { 'io-status': 'ok' }),
  };
}

/** Devices whose drive was taken stay listed by their path, as QEMU lists them. */
function disksOf(engine: Engine): readonly DiskDevice[] {
  return engine.machine?.disks ?? [];
}

/** Block backends, oldest first, then jobs. */
function graphUsers(engine: Engine): GraphUser[] {
  const found = new Set<BlockBackend>(disksOf(engine).map((disk) => disk.backend));
  for (const node of engine.graph.nodes) {
    for (const { parent } of node.parents) if (parent instanceof BlockBackend) found.add(parent);
  }
  const backends = [...found].toSorted((one, other) => one.order - other.order);
  const edgesOf = (parent: Parent): Child[] => [...engine.graph.nodes].flatMap((node) => node.parents.filter((edge) => edge.parent === parent));
  return [
    ...backends.map((parent) => ({ type: 'block-backend' as const, name: parent.backendName ?? '', parent, edges: edgesOf(parent) })),
    ...engine.jobs.blockJobs().map((job) => ({ type: 'block-job' as const, name: job.id, parent: job, edges: [...job.edges].reverse() })),
  ];
}

export const queryCommands: readonly AnyCommand[] = [
  defineCommand({
    name: 'qmp_capabilities',
    summary: 'Negotiate capabilities',
    args: capabilitiesArguments,
    guards: [],
    run: () => {},
  }),
  defineCommand({
    name: 'query-version',
    summary: 'The version whose answers these are',
    args: noArguments,
    returns: versionInfo,
    guards: [],
    run: () => currentVersion(),
  }),
  defineCommand({
    name: 'query-commands',
    summary: 'List commands',
    args: noArguments,
    returns: listOf(commandInfo),
    guards: [],
    run: (_args, { monitor }) => [...monitor.commands].map(({ name }) => ({ name })),
  }),
  defineCommand({
    name: 'query-qmp-schema',
    summary: 'Commands, events and types, for clients',
    args: noArguments,
    returns: listOf(schemaInfo),
    guards: [],
    run: (_args, { monitor }) =>
      introspect(
        [...monitor.commands].map((command) => ({
          name: command.name,
          args: command.args,
          returns: command.returns,
          features: [...(command.deprecated ? ['deprecated'] : []), ...(command.unstable ? ['unstable'] : [])],
        })),
        monitorEvents.filter((event) => monitor.kind === 'machine' || !event.isMachine),
      ),
  }),
  defineCommand({
    name: 'query-named-block-nodes',
    summary: 'List nodes, newest first',
    args: struct({ flat: optional(bool) }),
    returns: listOf(blockDeviceInfoType),
    guards: [],
    run: async (args, { engine }) => {
      const list: unknown[] = [];
      for (const node of [...engine.graph.nodes].reverse()) if (node.isOpen) list.push(await blockDeviceInfo(node, args.flat ?? false));
      return list;
    },
  }),
  defineCommand({
    name: 'query-block',
    summary: 'List block devices',
    args: struct({ flat: optional(bool) }),
    returns: listOf(blockInfoType),
    guards: [],
    run: async (args, { engine }) => {
      const list: unknown[] = [];
      for (const disk of disksOf(engine)) list.push(await blockInfo(disk, args.flat ?? false));
      return list;
    },
  }),
  defineCommand({
    name: 'query-blockstats',
    summary: 'Counters of devices or nodes',
    args: struct({ 'query-nodes': optional(bool) }),
    returns: listOf(blockStats),
    guards: [],
    run: (args, { engine }) => {
      if (args['query-nodes']) return [...engine.graph.nodes].filter((node) => node.isOpen).map((node) => nodeStats(node, true));
      return disksOf(engine).map((disk) =>
        deviceStats({ name: disk.hasDrive ? disk.id : '', qdev: disk.isAttached ? disk.id : undefined, node: disk.node, stats: disk.stats }),
      );
    },
  }),
  defineCommand({
    name: 'x-debug-query-block-graph',
    summary: 'The block graph with the permissions of its edges',
    args: noArguments,
    returns: xDbgBlockGraph,
    unstable: true,
    guards: [],
    run: (_args, { engine }) => blockGraph(engine.graph, graphUsers(engine)),
  }),
];
