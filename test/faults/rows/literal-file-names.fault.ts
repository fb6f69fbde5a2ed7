import type { Fault } from '../fault.ts';

/** A name given as an option of driver file is the name, whatever it begins with. */
const fault: Fault = {
  name: 'literal-file-names',
  kind: 'names',
  expected: 'file:x as an option: 2 MiB; vm-10:00 as an option: 3 MiB',
  play: async (stage) => {
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', 'x', '1M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', './file:x', '2M']);
    await stage.run('tsimg', ['create', '-q', '-f', 'raw', './vm-10:00', '3M']);
    const size = async (...words: string[]): Promise<string> => {
      const { stdout, stderr } = await stage.run('tsimg', ['info', ...words]);
      return /virtual size: (.*) \(/.exec(stdout)?.[1] ?? stderr.trim();
    };
    const first = await size('json:{"driver":"raw","file":{"driver":"file","filename":"file:x"}}');
    const second = await size('--image-opts', 'driver=raw,file.filename=vm-10:00');
    return `file:x as an option: ${first}; vm-10:00 as an option: ${second}`;
  },
};
export default fault;
