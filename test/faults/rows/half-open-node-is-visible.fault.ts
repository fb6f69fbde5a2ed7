import type { Fault } from '../fault.ts';
import { hookedEngine } from '../media.ts';

const cluster = 65536;

/** A node whose medium does not answer while it opens: nobody sees it, nobody waits for it, and the end does not either. */
const fault: Fault = {
  name: 'half-open-node-is-visible',
  kind: 'opening',
  expected: 'seen meanwhile: no; another node: added; close: done',
  play: async (stage) => {
    const library = await stage.loadLibrary();
    let isHeld = false;
    const { engine } = hookedEngine(library, { before: (op, offset) => (isHeld && op === 'read' && offset >= cluster ? new Promise(() => {}) : undefined) });
    await library.createImage(engine, 'qcow2', 'a', { size: 1 << 20 });
    await library.createImage(engine, 'qcow2', 'b', { size: 1 << 20 });
    isHeld = true;
    void engine.addNode({ driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: 'a' } }).catch(() => {});
    await turns();
    const seen = engine.graph.find('n') === undefined ? 'no' : 'yes';
    const another = await settled(engine.addNode({ driver: 'file', 'node-name': 'other', filename: 'b' }), 'added');
    const closed = await settled(engine.close(), 'done');
    return `seen meanwhile: ${seen}; another node: ${another}; close: ${closed}`;
  },
};
export default fault;

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20_000; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** `text` when the promise settles within some turns of the event loop. */
async function settled(promise: Promise<unknown>, text: string): Promise<string> {
  return Promise.race([
    promise.then(
      () => text,
      (error: Error) => error.message,
    ),
    turns().then(() => 'waits'),
  ]);
}
