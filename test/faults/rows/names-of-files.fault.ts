import { writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** Reports B: a guest writes an image onto its raw disk; the overlay's header says raw, so no name in it is followed. */
const backingFormat: Fault = {
  name: 'json-backing-format',
  kind: 'names',
  expected: 'convert QFI; compare 0; map of depth 1',
  play: async (stage) => {
    writeFileSync(stage.path('secret'), 'SECRET'.padEnd(65536, '\0'));
    await stage.run('tsimg', ['create', '-q', '-u', '-f', 'qcow2', '-b', stage.path('secret'), '-F', 'raw', 'guest.raw', '64k']);
    const name = `json:${JSON.stringify({ 'file.driver': 'file', 'file.filename': stage.path('guest.raw') })}`;
    await stage.run('tsimg', ['create', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', 'raw', 'over.qcow2', '64k']);
    await stage.run('tsimg', ['convert', '-O', 'raw', 'over.qcow2', 'out.raw']);
    const { stdout } = await stage.exec('head', ['-c', '3', 'out.raw']);
    const compared = await stage.run('tsimg', ['compare', '-f', 'qcow2', '-F', 'raw', 'over.qcow2', 'out.raw']);
    const map = await stage.run('tsimg', ['map', '--output=json', 'over.qcow2']);
    const depths = JSON.parse(map.stdout) as { readonly depth: number }[];
    return `convert ${stdout}; compare ${compared.code}; map of depth ${Math.max(...depths.map(({ depth }) => depth))}`;
  },
};

/** Reports F: a name given as an option is that name, whatever it begins with. */
const literalNames: Fault = {
  name: 'literal-names',
  kind: 'names',
  expected: '2097152 3145728',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'x', '1M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', './file:x', '2M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'qcow2', './vm-10:00.qcow2', '3M']);
    const size = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await stage.run('tsimg', ['info', '--output=json', ...args]);
      return stdout === '' ? stderr.trim() : String((JSON.parse(stdout) as Record<string, unknown>)['virtual-size']);
    };
    const first = await size('json:{"driver":"raw","file":{"driver":"file","filename":"file:x"}}');
    return `${first} ${await size('--image-opts', 'driver=qcow2,file.filename=vm-10:00.qcow2')}`;
  },
};

const faults: readonly Fault[] = [backingFormat, literalNames];
export default faults;
