/*
 * Drives: deleting them (HMP drive_del), moving a device onto another node (qom-set), ejecting. The checks in QEMU's order.
 */
import { BlockError } from '../../core/util/errors.ts';
import type { Engine } from '../engine.ts';
import { deleteNode } from './nodes.ts';

/** drive_del: of a drive, its medium goes and its name is free; of a node that blockdev-add made, as blockdev-del. */
export async function deleteDriveOrNode(engine: Engine, id: string): Promise<void> {
  const disk = engine.machine?.findDrive(id);
  if (disk === undefined) {
    const node = engine.graph.find(id);
    if (node === undefined) throw new BlockError(`Device '${id}' not found`, { code: 'ERR_NOT_FOUND', qmpClass: 'DeviceNotFound' });
    if (!node.monitorOwned) throw new BlockError(`Node ${node.name} is not owned by the monitor`, { code: 'ERR_STATE' });
    await deleteNode(engine, id);
    return;
  }
  disk.node?.blockers.check('drive-del');
  await engine.graph.turn(async () => {
    await disk.deleteDrive();
    await engine.exports.removeOfDevice(disk.id);
    if (!disk.isAttached) engine.machine?.forget(disk);
  });
}

/** qom-set: of an object what it lets be set; of a disk `drive`, which puts it onto another node while its requests wait. */
export async function setProperty(engine: Engine, path: string, property: string, value: unknown): Promise<void> {
  const object = engine.objects.get(path);
  if (object !== undefined) {
    if (property === 'type') throw new BlockError(`Property '${object.qomType}.type' is not writable`, { code: 'ERR_STATE' });
    if (object.setProperty === undefined || object.property?.(property) === undefined) throw noProperty(object.qomType, property);
    return object.setProperty(property, value);
  }
  const disk = engine.machine?.findDevice(path);
  if (disk === undefined) throw new BlockError(`Device '${path}' not found`, { code: 'ERR_NOT_FOUND', qmpClass: 'DeviceNotFound' });
  if (property !== 'drive') throw noProperty(diskType, property);
  if (typeof value !== 'string') throw new BlockError("Invalid parameter type for 'drive', expected: string", { code: 'ERR_OPTION' });
  await engine.graph.turn(async () => {
    const node = engine.graph.findDeviceOrNode(value);
    if (node === undefined) throw new BlockError(`Cannot find device='' nor node-name='${value}'`, { code: 'ERR_NOT_FOUND' });
    await disk.setNode(node);
  });
}

/** qom-get: of an object its type and what it tells; of a device its type and what its drive is called. */
export function getProperty(engine: Engine, path: string, property: string): unknown {
  const object = engine.objects.get(path);
  if (object !== undefined) {
    const value = property === 'type' ? object.qomType : object.property?.(property);
    if (value === undefined) throw noProperty(object.qomType, property);
    return value;
  }
  const disk = engine.machine?.findDevice(path);
  if (disk === undefined) throw new BlockError(`Device '${path}' not found`, { code: 'ERR_NOT_FOUND', qmpClass: 'DeviceNotFound' });
  if (property === 'drive') return disk.hasDrive ? disk.id : (disk.node?.name ?? '');
  if (property === 'type') return diskType;
  throw noProperty(diskType, property);
}

/** What QEMU calls the devices that disks are. */
const diskType = 'scsi-hd';

function noProperty(type: string, property: string): BlockError {
  return new BlockError(`Property '${type}.${property}' not found`, { code: 'ERR_NOT_FOUND' });
}

/** eject: devices have no tray; a drive that no device has gives its medium. */
export async function ejectMedium(engine: Engine, args: { readonly device?: string | undefined; readonly id?: string | undefined }): Promise<void> {
  if ((args.device === undefined) === (args.id === undefined)) throw new BlockError("Need exactly one of 'device' and 'id'", { code: 'ERR_OPTION' });
  const disk = args.id === undefined ? engine.machine?.findDrive(args.device ?? '') : engine.machine?.findDevice(args.id);
  if (disk === undefined) throw new BlockError(`Device '${args.device ?? args.id}' not found`, { code: 'ERR_NOT_FOUND', qmpClass: 'DeviceNotFound' });
  if (disk.isAttached) throw new BlockError(`Device '${args.device ?? args.id}' is not removable`, { code: 'ERR_STATE' });
  disk.node?.blockers.check('eject');
  await engine.graph.turn(async () => {
    await disk.eject();
    await engine.exports.removeOfDevice(disk.id);
  });
}
