/* Keys reach readline one at a time, and whoever intercepts them first. */
import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { KeyInput } from '../../src/qmp-shell/key-input.ts';

async function keysOf(chunks: readonly (string | Buffer)[], intercept: (key: string) => boolean = () => false): Promise<string[]> {
  const terminal = Object.assign(new EventEmitter(), { isRaw: false, pause: () => {}, resume: () => {}, setRawMode: () => {} });
  const keys = new KeyInput(terminal as unknown as NodeJS.ReadStream);
  keys.intercept = intercept;
  const heard: string[] = [];
  keys.on('data', (key: Buffer) => heard.push(key.toString()));
  for (const chunk of chunks) terminal.emit('data', Buffer.from(chunk));
  terminal.emit('end');
  await new Promise((resolve) => keys.on('end', resolve));
  return heard;
}

it('gives one key at a time, however they arrive', async () => {
  expect(await keysOf(['abc'])).toEqual(['a', 'b', 'c']);
  expect(await keysOf(['a\u001b[D\u001b[1;5Cb\u001bOP\u001bf'])).toEqual(['a', '\u001b[D', '\u001b[1;5C', 'b', '\u001bOP', '\u001bf']);
  const euro = Buffer.from('€');
  expect(await keysOf([euro.subarray(0, 1), euro.subarray(1), 'x\r\n'])).toEqual(['€', 'x', '\r', '\n']);
});

it('asks for no completion inside of what was pasted', async () => {
  expect(await keysOf(['a\tb', '\t'])).toEqual(['a', ' ', 'b', '\t']);
});

it('leaves out what was intercepted', async () => {
  expect(await keysOf(['a\u0012b'], (key) => key === '\u0012')).toEqual(['a', 'b']);
});
