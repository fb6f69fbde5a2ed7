/* The drivers that this engine knows, by name. Loaded at first use; nothing registers itself. */
import type { DriverEntry } from '../core/block/driver.ts';
import { fileOnly } from '../core/block/driver-options.ts';
import { type OptionTree, stripProtocol } from '../core/block/options.ts';
import { blkdebugOptions } from '../core/drivers/blkdebug-options.ts';
import { blklogwritesOptions } from '../core/drivers/blklogwrites-options.ts';
import { blkverifyOptions } from '../core/drivers/blkverify-options.ts';
import { copyBeforeWriteOptions } from '../core/drivers/copy-before-write-options.ts';
import { copyOnReadOptions } from '../core/drivers/copy-on-read-options.ts';
import { fileDriverOptions } from '../core/drivers/file-options.ts';
import { nullDriverOptions } from '../core/drivers/null-options.ts';
import { preallocateOptions } from '../core/drivers/preallocate-options.ts';
import { quorumOptions } from '../core/drivers/quorum-options.ts';
import { rawDriverOptions } from '../core/drivers/raw-options.ts';
import { throttleOptions } from '../core/drivers/throttle-options.ts';
import { BlockError } from '../core/util/errors.ts';
import { luksDriverOptions } from '../luks/driver-options.ts';
import { probeLuks } from '../luks/probe.ts';
import { qcow2DriverOptions } from '../qcow2/driver-options.ts';
import { probeQcow2 } from '../qcow2/probe.ts';

export const driverEntries: readonly DriverEntry[] = [
  {
    name: 'file',
    kind: 'protocol',
    options: fileDriverOptions,
    parseFilename: pathOf('file'),
    load: async () => (await import('../core/drivers/file.ts')).fileDriver,
  },
  {
    name: 'host_device',
    kind: 'protocol',
    options: fileDriverOptions,
    parseFilename: pathOf('host_device'),
    load: async () => (await import('../core/drivers/file.ts')).hostDeviceDriver,
  },
  {
    name: 'host_cdrom',
    kind: 'protocol',
    options: fileDriverOptions,
    parseFilename: pathOf('host_cdrom'),
    load: async () => (await import('../core/drivers/file.ts')).hostCdromDriver,
  },
  {
    name: 'null-co',
    kind: 'protocol',
    options: nullDriverOptions,
    parseFilename: onlyItself('null-co'),
    load: async () => (await import('../core/drivers/null.ts')).nullDriver,
  },
  {
    name: 'null-aio',
    kind: 'protocol',
    options: nullDriverOptions,
    parseFilename: onlyItself('null-aio'),
    load: async () => (await import('../core/drivers/null.ts')).nullAioDriver,
  },
  { name: 'raw', kind: 'format', options: rawDriverOptions, probe: () => 1, load: async () => (await import('../core/drivers/raw.ts')).rawDriver },
  { name: 'qcow2', kind: 'format', options: qcow2DriverOptions, probe: probeQcow2, load: async () => (await import('../qcow2/driver.ts')).qcow2Driver },
  { name: 'luks', kind: 'format', options: luksDriverOptions, probe: probeLuks, load: async () => (await import('../luks/driver.ts')).luksDriver },
  {
    name: 'copy-before-write',
    kind: 'filter',
    options: copyBeforeWriteOptions,
    load: async () => (await import('../core/drivers/copy-before-write.ts')).copyBeforeWriteDriver,
  },
  { name: 'snapshot-access', kind: 'filter', options: fileOnly, load: async () => (await import('../core/drivers/snapshot-access.ts')).snapshotAccessDriver },
  { name: 'throttle', kind: 'filter', options: throttleOptions, load: async () => (await import('../core/drivers/throttle.ts')).throttleDriver },
  { name: 'preallocate', kind: 'filter', options: preallocateOptions, load: async () => (await import('../core/drivers/preallocate.ts')).preallocateDriver },
  { name: 'copy-on-read', kind: 'filter', options: copyOnReadOptions, load: async () => (await import('../core/drivers/copy-on-read.ts')).copyOnReadDriver },
  {
    name: 'blkdebug',
    kind: 'filter',
    options: blkdebugOptions,
    parseFilename: configAndImage,
    load: async () => (await import('../core/drivers/blkdebug.ts')).blkdebugDriver,
  },
  {
    name: 'blkverify',
    kind: 'filter',
    options: blkverifyOptions,
    parseFilename: rawAndTest,
    load: async () => (await import('../core/drivers/blkverify.ts')).blkverifyDriver,
  },
  { name: 'quorum', kind: 'format', options: quorumOptions, load: async () => (await import('../core/drivers/quorum.ts')).quorumDriver },
  {
    name: 'blklogwrites',
    kind: 'filter',
    options: blklogwritesOptions,
    load: async () => (await import('../core/drivers/blklogwrites.ts')).blklogwritesDriver,
  },
  { name: 'compress', kind: 'filter', options: fileOnly, load: async () => (await import('../core/drivers/compress.ts')).compressDriver },
];

/** `blkdebug:CONFIG:IMAGE`, where CONFIG may be empty. */
function configAndImage(filename: string, parse: (filename: string) => OptionTree): OptionTree {
  const words = filename.slice('blkdebug:'.length);
  const colon = words.indexOf(':');
  if (colon < 0) throw new BlockError('blkdebug requires both config file and image path', { code: 'EINVAL' });
  return { ...(colon === 0 ? {} : { config: words.slice(0, colon) }), image: parse(words.slice(colon + 1)) };
}

/** `blkverify:RAW:TEST`: the first is a file, the second an image. */
function rawAndTest(filename: string, parse: (filename: string) => OptionTree): OptionTree {
  const words = filename.slice('blkverify:'.length);
  const colon = words.indexOf(':');
  if (colon < 0) throw new BlockError('blkverify requires raw copy and original image path', { code: 'EINVAL' });
  const test = words.slice(colon + 1);
  return { raw: parse(words.slice(0, colon)), test: test.startsWith('json:') ? parse(test) : { file: parse(test) } };
}

/** Formats that images on media have: what can be probed. */
export const imageFormats: readonly string[] = driverEntries.filter(({ kind, probe }) => kind === 'format' && probe !== undefined).map(({ name }) => name);

function pathOf(protocol: string): (filename: string) => OptionTree {
  return (filename) => ({ filename: stripProtocol(filename, protocol) });
}

/** A driver whose filename says nothing but its own name. */
function onlyItself(protocol: string): (filename: string) => OptionTree {
  const only = `${protocol}://`;
  return (filename) => {
    if (filename !== only) throw new BlockError(`The only allowed filename for this driver is '${only}'`, { code: 'EINVAL' });
    return {};
  };
}
