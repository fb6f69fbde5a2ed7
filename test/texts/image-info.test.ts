import { describe, expect, it } from 'vitest';
import { type ImageInfo, infoJson } from '../../src/core/block/info.ts';
import { writeJson } from '../../src/core/util/json-write.ts';
import { infoText, snapshotTable } from '../../src/texts/image-info.ts';

const file: ImageInfo = {
  filename: 'd.img',
  format: 'file',
  isProtocol: true,
  virtualSize: 1536,
  actualSize: undefined,
  clusterSize: undefined,
  isEncrypted: false,
  isCompressed: false,
  isDirty: false,
  backing: undefined,
  snapshots: [],
  specific: { type: 'file', data: {} },
  limits: undefined,
  children: [],
};

describe('the text of info', () => {
  it('names what it does not know, and nests children with their path', () => {
    const filter: ImageInfo = { ...file, filename: 'f', format: 'throttle', isProtocol: false, specific: undefined, children: [{ name: 'file', info: file }] };
    const top: ImageInfo = { ...file, format: 'raw', isProtocol: false, specific: undefined, children: [{ name: 'file', info: filter }] };
    expect(infoText(top)).toBe(
      [
        'image: d.img',
        'file format: raw',
        'virtual size: 1.5 KiB (1536 bytes)',
        'disk size: unavailable',
        "Child node '/file':",
        '    image: f',
        '    file format: throttle',
        '    virtual size: 1.5 KiB (1536 bytes)',
        '    disk size: unavailable',
        "    Child node '/file/file':",
        '        filename: d.img',
        '        protocol type: file',
        '        file length: 1.5 KiB (1536 bytes)',
        '        disk size: unavailable',
        '',
      ].join('\n'),
    );
  });

  it('tells where a relative backing file lies', () => {
    const overlay: ImageInfo = { ...file, isProtocol: false, backing: { filename: 'b', full: 'dir/b', format: 'qcow2' } };
    expect(infoText(overlay)).toContain('backing file: b (actual path: dir/b)\nbacking file format: qcow2\n');
    expect(infoText({ ...overlay, backing: { filename: 'b', full: undefined, format: undefined } })).toContain(
      'backing file: b (cannot determine actual path)\n',
    );
  });

  it('numbers the elements of lists and indents what is in them', () => {
    const data = { bitmaps: [{ name: 'b0', flags: ['auto', 'in-use'] }], 'lazy-refcounts': false };
    expect(infoText({ ...file, specific: { type: 'x', data } })).toContain(
      [
        'Format specific information:',
        '    lazy refcounts: false',
        '    bitmaps:',
        '        [0]:',
        '            flags:',
        '                [0]: auto',
        '                [1]: in-use',
        '            name: b0',
        '',
      ].join('\n'),
    );
  });
});

it('leaves out of the JSON form what is not known', () => {
  expect(writeJson(infoJson({ ...file, isDirty: undefined, specific: undefined }))).toBe(
    '{"children": [], "virtual-size": 1536, "filename": "d.img", "format": "file"}',
  );
});

it('prints snapshots as a table; long names push the rest', () => {
  const snapshot = { id: '1', name: 'one', vmStateSize: 1536, dateSec: 0, dateNsec: 0, vmClockNsec: 3_723_004_000_000n, icount: undefined };
  const [, head, row] = snapshotTable([snapshot]);
  expect(head).toBe('ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT');
  expect(row).toMatch(/^1 {7}one {15}1\.5 KiB \d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}0001:02:03\.004 {9}--$/);
  expect(snapshotTable([{ ...snapshot, name: 'x'.repeat(20), icount: 7n }])[2]).toContain(`${'x'.repeat(20)}  1.5 KiB`);
});
