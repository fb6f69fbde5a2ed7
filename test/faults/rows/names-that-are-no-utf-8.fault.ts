import { readdirSync, readFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** Names are bytes: on the command line, in headers, through a repair, and in what is printed. JSON takes only UTF-8. */
const fault: Fault = {
  name: 'names-that-are-no-utf-8',
  kind: 'names',
  expected: 'files 61e4 61f6 6fe4; header keeps 61e4; info prints 61e4; json: refused as no UTF-8',
  play: async (stage) => {
    const [node, tsimg] = stage.command('tsimg');
    // a shell hands the bytes over: Node cannot
    const shell = (script: string): Promise<{ code: number | null; stdout: string; stderr: string }> =>
      stage.exec('bash', ['-c', `tsimg() { '${node}' '${tsimg}' "$@"; }; ${script}`]);
    await shell(
      `tsimg create -q -f raw $'a\\344' 1M; tsimg create -q -f raw $'a\\366' 2M; tsimg create -q -f qcow2 -b $'a\\344' -F raw -o lazy_refcounts=on $'o\\344'`,
    );
    const files = readdirSync(Buffer.from(stage.folder), 'buffer').map((name) => name.toString('hex'));
    // the mark "dirty": the repair writes the header anew
    await shell(`printf '\\1' | dd of=$'o\\344' bs=1 seek=79 conv=notrunc status=none; tsimg check -q -r all $'o\\344'`);
    const image = readFileSync(Buffer.concat([Buffer.from(`${stage.folder}/o`), Buffer.of(0xe4)]));
    const at = Number(image.readBigUInt64BE(8));
    const name = image.subarray(at, at + image.readUInt32BE(16)).toString('hex');
    await shell(`tsimg info $'o\\344' > printed`);
    const printed = readFileSync(stage.path('printed'), 'latin1');
    const shown = Buffer.from(/^backing file: (.*)$/m.exec(printed)?.[1] ?? '', 'latin1').toString('hex');
    const { stderr } = await shell(`tsimg info $'json:{"driver":"file","filename":"a\\344"}'`);
    const isRefused = stderr.includes('invalid UTF-8 sequence in string');
    return `files ${files.sort().join(' ')}; header keeps ${name}; info prints ${shown}; json: ${isRefused ? 'refused as no UTF-8' : stderr.trim()}`;
  },
};
export default fault;
