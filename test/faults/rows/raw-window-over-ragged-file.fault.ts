import { writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** A window of a file whose length is no whole number of sectors: sizes and places as the peer tells them. */
const fault: Fault = {
  name: 'raw-window-over-ragged-file',
  kind: 'devices',
  expected:
    '512; 0+1000@0 1000+24@1000; The sum of offset (512) and size (1000) has to be smaller or equal to the  actual size of the containing file (1024); ' +
    'Offset (18446744073709551615) cannot be greater than size of the containing file (1024)',
  play: async (stage) => {
    writeFileSync(stage.path('d'), new Uint8Array(1000).fill(1));
    const image = (more: string): string => `driver=raw,${more},file.driver=file,file.filename=d`;
    const info = async (more: string): Promise<string> => {
      const { stdout, stderr } = await stage.run('tsimg', ['info', '--image-opts', image(more)]);
      return /virtual size: .*\((\d+) bytes\)/.exec(stdout)?.[1] ?? stderr.trim().replace(/^.*filename=d': /, '');
    };
    const first = await info('offset=1000');
    const { stdout } = await stage.run('tsimg', ['map', '--output=json', '--image-opts', image('size=1024')]);
    const extents = (JSON.parse(stdout) as { start: number; length: number; offset?: number }[]).map(
      ({ start, length, offset }) => `${start}+${length}@${offset}`,
    );
    return [first, extents.join(' '), await info('offset=512,size=1000'), await info('offset=18446744073709551615')].join('; ');
  },
};
export default fault;
