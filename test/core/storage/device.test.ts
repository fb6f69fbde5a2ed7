/* What is known of block devices with and without the extra system calls: sizes and limits as the kernel tells them. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { deviceLimits, endOffset, sectorSize } from '../../../src/core/storage/device.ts';
import { localStorage } from '../../../src/core/storage/local-open.ts';
import { withoutSyscalls } from '../../../src/core/storage/syscalls.ts';
import { tempFolder } from '../../support/tmp.ts';

vi.mock('node:fs', async (original) => {
  const real = await original<typeof fs>();
  return { ...real, fstatSync: vi.fn(real.fstatSync), readFileSync: vi.fn(real.readFileSync) };
});
afterEach(() => {
  vi.mocked(fs.fstatSync).mockReset();
  vi.mocked(fs.readFileSync).mockReset();
});

/** A block device of this number whose sysfs has these files. */
function pretend(rdev: number, files: Readonly<Record<string, string>>): void {
  const stat = { rdev, isFile: () => false, isBlockDevice: () => true };
  vi.mocked(fs.fstatSync).mockReturnValue(stat as unknown as fs.Stats & fs.BigIntStats);
  vi.mocked(fs.readFileSync).mockImplementation(((path: string) => {
    const found = files[path];
    if (found === undefined) throw Object.assign(new Error('none'), { code: 'ENOENT' });
    return found;
  }) as typeof fs.readFileSync);
}

describe('a device without the extra system calls', () => {
  it.each([
    [0x0700, '7:0'],
    [0x080f, '8:15'],
    [0x0001_03ff, '259:255'],
    // minors above 255 and majors above 4095 stand in the upper parts
    [0x0010_072c, '7:300'],
    [2 ** 32 * 0x1000 + 0x0500, '4101:0'],
  ] as const)('number %d has the size that /sys/dev/block/%s tells, in 512 bytes', (rdev, name) => {
    pretend(rdev, { [`/sys/dev/block/${name}/size`]: '16384\n' });
    expect(endOffset(3, undefined)).toBe(8_388_608);
  });

  it('whose size nobody tells is refused, and never measured', () => {
    pretend(0x0700, {});
    expect(() => endOffset(3, undefined)).toThrow('the size of a device cannot be told here');
    pretend(0x0700, { '/sys/dev/block/7:0/size': 'no number\n' });
    expect(() => endOffset(3, undefined)).toThrow('the size of a device cannot be told here');
  });

  it('has the limits of its queue; a partition the sector of its disk', () => {
    pretend(0x0700, {
      '/sys/dev/block/7:0/queue/logical_block_size': '4096\n',
      '/sys/dev/block/7:0/queue/discard_granularity': '65536\n',
      '/sys/dev/block/7:0/queue/max_sectors_kb': '1280\n',
      '/sys/dev/block/7:0/queue/max_segments': '128\n',
      '/sys/dev/block/7:0/ro': '1\n',
    });
    expect(deviceLimits(3, undefined)).toEqual({ zeroAlign: 4096, discardAlign: 65536, maxHwTransfer: 1_310_720, maxHwIov: 128, isReadOnly: true });
    pretend(0x0701, { '/sys/dev/block/7:1/../queue/logical_block_size': '512\n', '/sys/dev/block/7:1/ro': '0\n' });
    expect(sectorSize(3, undefined)).toBe(512);
    expect(deviceLimits(3, undefined)).toEqual({ zeroAlign: 512, discardAlign: 1, maxHwTransfer: 0, maxHwIov: 0, isReadOnly: false });
  });
});

const mayLoop = process.getuid?.() === 0 && spawnSync('losetup', ['--version']).error === undefined;

describe.skipIf(!mayLoop)('a loop device', () => {
  it.each([
    [512, true, true],
    [512, true, false],
    [512, false, true],
    [4096, true, true],
    [4096, true, false],
    [4096, false, false],
  ])('with sectors of %d bytes (direct: %s, extra calls: %s) has its size and its bytes, and keeps its size', async (sector, direct, hasCalls) => {
    using folder = tempFolder('loop');
    const content = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 7 + (i >> 9)) % 251));
    fs.writeFileSync(folder.file('disk'), content);
    const made = spawnSync('losetup', ['-f', '--show', '-b', String(sector), folder.file('disk')], { encoding: 'utf8' });
    const device = made.stdout.trim();
    if (made.status !== 0) return;
    try {
      using _ = hasCalls ? { [Symbol.dispose]: () => {} } : withoutSyscalls();
      for (const syncLimit of [0, Number.POSITIVE_INFINITY]) {
        await using file = await localStorage({ syncLimit })(device, { readOnly: false, create: 'never', direct, noFlush: false, locking: 'off' });
        expect(await file.size()).toBe(content.length);
        expect(file.caps.kind).toBe('block-device');
        expect(file.caps.align).toBe(direct ? sector : 1);
        const into = Buffer.alloc(3 * 65536 + 4096, 0xee);
        await file.read(4096, into.subarray(1, 1 + 3 * 65536));
        expect(into.subarray(1, 1 + 3 * 65536).equals(content.subarray(4096, 4096 + 3 * 65536))).toBe(true);
        await file.write(8192, content.subarray(1, 8193));
        content.copy(content, 8192, 1, 8193);
        await file.zero(65536, 8192, true);
        content.fill(0, 65536, 65536 + 8192);
        await file.flush();
        await file.read(0, into.subarray(0, 131_072));
        expect(into.subarray(0, 131_072).equals(content.subarray(0, 131_072))).toBe(true);
        expect(() => file.truncate(512)).toThrow('Cannot resize device files');
        await file.truncate(content.length);
      }
    } finally {
      spawnSync('losetup', ['-d', device]);
    }
  });
});
