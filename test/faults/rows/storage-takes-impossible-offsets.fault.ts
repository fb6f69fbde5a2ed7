import { readFileSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** A position above 2^53, or none at all, is "where the file stands" to Node: such requests are refused by every storage. */
const fault: Fault = {
  name: 'storage-takes-impossible-offsets',
  kind: 'numbers',
  expected: 'EFBIG EFBIG EINVAL EINVAL EFBIG; the file keeps HHHH and 4096 bytes',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const path = stage.path('f');
    writeFileSync(path, 'H'.repeat(4096));
    const file = await library.localStorage()(path, { readOnly: false, create: 'never', direct: false, noFlush: true, locking: 'off' });
    const codes: unknown[] = [];
    for (const offset of [2 ** 53, 2 ** 56 + 512, -512, 0.5, Number.POSITIVE_INFINITY]) {
      codes.push(
        await (async () => file.write(offset, Buffer.from('XXXX')))().then(
          () => 'ok',
          (error: { code?: unknown }) => error.code,
        ),
      );
    }
    await file[Symbol.asyncDispose]();
    const content = readFileSync(path, 'latin1');
    return `${codes.join(' ')}; the file keeps ${content.slice(0, 4)} and ${content.length} bytes`;
  },
};
export default fault;
