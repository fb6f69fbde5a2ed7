import { writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** Zeros that end past the end of a file, beside a write under way in the thread pool that ends further on. */
const fault: Fault = {
  name: 'zero-cuts-off-pooled-writes',
  kind: 'numbers',
  expected: 'acknowledged writes cut off: 0',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    const path = stage.path('race.raw');
    writeFileSync(path, '');
    await using file = await library.localStorage()(path, { readOnly: false, create: 'never', direct: false, noFlush: true, locking: 'off' });
    const data = new Uint8Array(68 * 1024).fill(0xab);
    const end = 1024 * 1024 + data.length;
    let lost = 0;
    for (let i = 0; i < 40_000 && lost === 0; i++) {
      await file.truncate(0);
      const writing = file.write(1024 * 1024, data);
      // the zeros come at any moment of the write
      const until = performance.now() + (i % 80) / 1000;
      while (performance.now() < until);
      await file.zero(65_536, 65_536, true);
      await writing;
      if ((await file.size()) !== end) lost++;
    }
    return `acknowledged writes cut off: ${lost}`;
  },
};
export default fault;
