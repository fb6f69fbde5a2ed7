/*
 * Drives and nodes from option strings, as HMP's drive_add takes them (`if=none,id=…,file=…,format=…`). Knows no monitor.
 * Rule source: observed behaviour of QEMU 11.1.
 */
import type { OptionTree } from '../../core/block/options.ts';
import { BlockError } from '../../core/util/errors.ts';
import { isIdentifier } from '../../core/util/identifier.ts';
import { parseOptionWords, unflatten } from '../../core/util/key-values.ts';
import type { Engine } from '../engine.ts';

/** Interfaces of -drive in the order of their numbers; without `if=` a drive is for the machine's own: ide. */
const interfaces = ['none', 'ide', 'scsi', 'floppy', 'pflash', 'mtd', 'sd', 'virtio', 'xen'];

const cacheModes: Readonly<Record<string, { direct: boolean; 'no-flush': boolean }>> = {
  none: { direct: true, 'no-flush': false },
  off: { direct: true, 'no-flush': false },
  directsync: { direct: true, 'no-flush': false },
  writeback: { direct: false, 'no-flush': false },
  writethrough: { direct: false, 'no-flush': false },
  unsafe: { direct: false, 'no-flush': true },
};

/** What concerns the device, which is not made here. */
const deviceWords = ['bus', 'unit', 'index', 'media', 'rerror', 'werror', 'copy-on-read', 'serial', 'addr'];

interface Words {
  /** Lines that come before the answer. */
  readonly notes: string;
  readonly values: Record<string, string>;
}

function readWords(text: string): Words {
  const values: Record<string, string> = {};
  let notes = '';
  for (const { name, value, isFlag } of parseOptionWords(text)) {
    const given = value === 'off' ? `no${name}` : name;
    if (isFlag) notes += `warning: short-form boolean option '${given}' deprecated\nPlease use ${name}=${value} instead\n`;
    values[name] = value;
  }
  return { notes, values };
}

/** `drive_add -n`: a node, as blockdev-add makes it, from strings. Text for the monitor. */
export async function addNodeByOptions(engine: Engine, text: string): Promise<string> {
  const { notes, values } = readWords(text);
  if (values['node-name'] === undefined) return `${notes}Error: 'node-name' needs to be specified\n`;
  return attempt(notes, async () => {
    await engine.addNode(unflatten(values) as OptionTree);
    return '';
  });
}

/** `drive_add`: a drive of its own, with or without a medium. Text for the monitor. */
export async function addDriveByOptions(engine: Engine, text: string): Promise<string> {
  const { notes, values } = readWords(text);
  const { id: givenId, if: bus, readonly: readOnly, cache, format, file, driver, ...rest } = values;
  if (givenId !== undefined && !isIdentifier(givenId)) {
    return `Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n`;
  }
  const { machine } = engine;
  if (machine === undefined) return notes;
  const id = givenId ?? nextName(machine.disks.length, (name) => machine.has(name));
  if (machine.has(id)) return `${notes}Duplicate ID '${id}' for drive\n`;
  return attempt(notes, async () => {
    const number = bus === undefined ? 1 : interfaces.indexOf(bus);
    if (number < 0) throw new BlockError(`unsupported bus type '${bus}'`, { code: 'ENOTSUP' });
    const mode = cache === undefined ? undefined : cacheModes[cache];
    if (cache !== undefined && mode === undefined) throw new BlockError('invalid cache option', { code: 'ERR_OPTION' });
    for (const word of deviceWords) delete rest[word];
    const options: OptionTree = {
      ...(unflatten(rest) as OptionTree),
      ...(readOnly === undefined ? {} : { 'read-only': readOnly }),
      ...(mode === undefined ? {} : { cache: mode }),
      ...(driver === undefined ? {} : { driver }),
    };
    const isEmpty = file === undefined && Object.keys(options).length === 0;
    await engine.graph.turn(async () => {
      const node = isEmpty
        ? undefined
        : file === undefined
          ? await engine.opener.openNode(options)
          : await engine.opener.openImage({ filename: file, format: format ?? driver, options });
      try {
        // the medium's own errors come first
        if (engine.graph.find(id) !== undefined) throw new BlockError(`Device name '${id}' conflicts with an existing node name`, { code: 'ERR_NAME' });
        if (number !== 0) throw new BlockError(`Can't hot-add drive to type ${number}`, { code: 'ERR_OPTION' });
        machine.addDrive(id, node);
      } catch (error) {
        if (node !== undefined) await engine.graph.releaseUnused(node);
        throw error;
      }
    });
    return 'OK\n';
  });
}

/** Drives without a name are counted among all. */
function nextName(first: number, isTaken: (name: string) => boolean): string {
  let number = first;
  while (isTaken(`none${number}`)) number++;
  return `none${number}`;
}

async function attempt(notes: string, body: () => Promise<string>): Promise<string> {
  try {
    return notes + (await body());
  } catch (error) {
    if (error instanceof BlockError) return `${notes}Error: ${error.message}\n${error.detail === undefined ? '' : `${error.detail}\n`}`;
    throw error;
  }
}
