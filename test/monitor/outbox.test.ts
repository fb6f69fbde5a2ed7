import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { writeJson } from '../../src/core/util/json-write.ts';
import { isPending, YieldBudget } from '../../src/core/util/maybe.ts';
import { Outbox } from '../../src/monitor/outbox.ts';

const mebi = 1024 * 1024;
const long = { return: Array.from({ length: 200_000 }, (_, index) => ({ name: `bitmap ${index}`, flags: ['in-use'] })) };
const short = { return: {} };

function reader(): { readonly output: Writable; text(): string } {
  const parts: Buffer[] = [];
  const output = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      parts.push(chunk);
      done();
    },
  });
  return { output, text: () => Buffer.concat(parts).toString() };
}

it('a short reply is written at once', () => {
  const { output, text } = reader();
  expect(isPending(new Outbox(output, { budget: new YieldBudget() }).reply(short))).toBe(false);
  expect(text()).toBe('{"return": {}}\r\n');
});

it('a long reply lets the loop turn many times, and events follow it', async () => {
  const { output, text } = reader();
  const outbox = new Outbox(output, { budget: new YieldBudget() });
  const reply = outbox.reply(long);
  expect(isPending(reply)).toBe(true);
  let turns = 0;
  let isDone = false;
  const turn = (): void => {
    turns++;
    if (turns === 2) outbox.event({ event: 'JOB_STATUS_CHANGE' });
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  await reply;
  isDone = true;
  await outbox.taken();
  expect(turns).toBeGreaterThan(2);
  expect(text() === `${writeJson(long)}\r\n{"event": "JOB_STATUS_CHANGE"}\r\n`).toBe(true);
});

it('no more of a reply is made than a client takes, until it is closed', async () => {
  const output = new Writable({ write: () => {} });
  const outbox = new Outbox(output, { budget: new YieldBudget() });
  const reply = outbox.reply(long);
  for (let turn = 0; turn < 1000; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(output.writableLength).toBeGreaterThan(mebi / 2);
  expect(output.writableLength).toBeLessThan(mebi + 65536);
  outbox.close();
  await reply;
});
