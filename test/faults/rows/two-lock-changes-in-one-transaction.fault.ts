import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { Fault } from '../fault.ts';

/** Two lock changes tried one after the other, then committed: what is held is what was asked for last. */
const fault: Fault = {
  name: 'two-lock-changes-in-one-transaction',
  kind: 'locks',
  expected: 'committed: 100-101; grown and shrunk: 100-100; aborted: 100-100',
  play: async (stage) => {
    const { localStorage } = await stage.loadLibrary();
    const path = stage.path('l.raw');
    writeFileSync(path, Buffer.alloc(65536));
    const storage = await localStorage()(path, { readOnly: false, create: 'never', direct: false, noFlush: false, locking: 'on' });
    const set = (held: number): { commit(): void; abort(): void } => {
      const change = storage.setLocks?.(held, 0);
      if (change === undefined) throw new Error('no locks here');
      return change;
    };
    // consistent-read, then write as well
    const grown = [set(1), set(1 | 2)];
    for (const change of grown) change.commit();
    const committed = locksOn(path);
    const shrunk = [set(1 | 2 | 8), set(1)];
    for (const change of shrunk) change.commit();
    const after = locksOn(path);
    const inVain = [set(1 | 2), set(1 | 8)];
    for (const change of inVain.reverse()) change.abort();
    const aborted = locksOn(path);
    await storage[Symbol.asyncDispose]();
    return `committed: ${committed}; grown and shrunk: ${after}; aborted: ${aborted}`;
  },
};
export default fault;

/** Bytes that this process has locked in the file, as the kernel lists them. */
function locksOn(path: string): string {
  const inode = `:${statSync(path).ino} `;
  const found = new Set<string>();
  for (const fd of readdirSync('/proc/self/fdinfo')) {
    let text = '';
    try {
      text = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    } catch {
      // the descriptor of the listing itself
    }
    for (const line of text.split('\n')) if (line.startsWith('lock:') && line.includes(inode)) found.add(line.trim().split(/\s+/).slice(-2).join('-'));
  }
  return [...found].sort().join(' ');
}
