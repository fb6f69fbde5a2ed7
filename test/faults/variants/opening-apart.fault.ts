import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

/** Two openings of one name at a time: one is told in QEMU's words, and nothing of it stays open. */
const sameName: Fault = {
  name: 'two-openings-of-one-name',
  kind: 'opening',
  expected: "n, Duplicate nodes with node-name='n'; open media 1",
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let closed = 0;
    const { engine } = hookedEngine(library, {
      before: (op) => (op === 'read' ? new Promise((resolve) => setImmediate(resolve)) : undefined),
      fail: (op) => {
        if (op === 'close') closed++;
        return undefined;
      },
    });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20 });
    await library.createImage(engine, 'qcow2', 'b', { size: 1 << 20 });
    closed = 0;
    const add = (filename: string): Promise<string> =>
      engine.addNode({ driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename } }).then(
        (node) => node.name,
        (error: Error) => error.message,
      );
    const told = await Promise.all([add('a'), add('b')]);
    return `${told.sort((one, two) => one.length - two.length).join(', ')}; open media ${2 - closed}`;
  },
};

/** A node that hangs while it opens above one that is there: the end does not wait for it, and closes the one below. */
const aboveAnother: Fault = {
  name: 'hanging-open-above-another-node',
  kind: 'opening',
  expected: 'close: done; told: an error',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isHeld = false;
    const { engine } = hookedEngine(library, { before: (op) => (isHeld && op === 'read' ? new Promise(() => {}) : undefined) });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20 });
    await engine.addNode({ driver: 'file', 'node-name': 'f', filename: 'a' });
    isHeld = true;
    const told = engine.addNode({ driver: 'qcow2', 'node-name': 'n', file: 'f' }).then(
      () => 'a node',
      () => 'an error',
    );
    await turns();
    const closed = await Promise.race([engine.close().then(() => 'done'), turns().then(() => 'waits')]);
    return `close: ${closed}; told: ${await Promise.race([told, turns().then(() => 'nothing')])}`;
  },
};

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20_000; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const faults: readonly Fault[] = [sameName, aboveAnother];
export default faults;
