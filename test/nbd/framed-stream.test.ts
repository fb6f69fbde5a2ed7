/* The handshake's view of a connection: so many bytes in, output that waits, ends. */
import { expect, it } from 'vitest';
import { eventLoop } from '../../src/core/util/clock.ts';
import { isPending } from '../../src/core/util/maybe.ts';
import { FramedStream } from '../../src/nbd/framed-stream.ts';
import { MemoryConnection } from '../support/nbd-memory.ts';

const numbers = (from: number, length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (from + index) & 255));

it('gives what was asked for, however it came, and stops reading when nobody asks', async () => {
  const connection = new MemoryConnection();
  const stream = new FramedStream(connection);
  const first = stream.need(5);
  expect(isPending(first)).toBe(true);
  connection.send(numbers(0, 3));
  expect(connection.isReading).toBe(true);
  connection.send(numbers(3, 4));
  expect(Buffer.from(await first)).toEqual(numbers(0, 5));
  const second = stream.need(2);
  expect(isPending(second)).toBe(false);
  expect(Buffer.from(await second)).toEqual(numbers(5, 2));
  expect(connection.isReading).toBe(true);
  connection.send(numbers(7, 3));
  expect(connection.isReading).toBe(false);
  connection.send(numbers(10, 3));
  expect(Buffer.from(await stream.need(6))).toEqual(numbers(7, 6));
  connection.send(numbers(13, 2));
  expect([[...stream.takeRest()], [...stream.takeRest()]]).toEqual([[13, 14], []]);
});

it('forgets what is skipped, in pieces', async () => {
  const connection = new MemoryConnection();
  const stream = new FramedStream(connection);
  const skipped = stream.skip(200_000);
  for (let at = 0; at < 200_000; at += 50_000) connection.send(Buffer.alloc(50_000));
  connection.send(numbers(1, 4));
  await skipped;
  expect(Buffer.from(await stream.need(4))).toEqual(numbers(1, 4));
  await stream.skip(0);
  expect(stream.takeRest().length).toBe(0);
});

it('fails at the end of input, and tells who listens', async () => {
  const connection = new MemoryConnection();
  const stream = new FramedStream(connection);
  let ends = 0;
  stream.onEnd = () => ends++;
  const wanted = stream.need(4);
  connection.send(numbers(0, 3));
  connection.end();
  await expect(wanted).rejects.toThrow('Unexpected end-of-file before all data were read');
  expect(ends).toBe(1);
  expect(Buffer.from(await stream.need(3))).toEqual(numbers(0, 3));
  await expect(stream.need(1)).rejects.toThrow('Unexpected end-of-file');
});

it('waits for a slow reader above 64 KiB, and no longer than it is there', async () => {
  const connection = new MemoryConnection();
  const stream = new FramedStream(connection);
  connection.isHeld = true;
  await stream.send(Buffer.alloc(65536));
  let isSent = false;
  const sent = stream.send(Buffer.alloc(1)).then(() => {
    isSent = true;
  });
  await eventLoop.nextTurn();
  expect([isSent, connection.unsent]).toEqual([false, 65537]);
  connection.letGo();
  await sent;
  expect(connection.output.length).toBe(65537);
  const lost = stream.send(Buffer.alloc(70_000));
  connection.destroy();
  await expect(lost).rejects.toThrow('Unable to write to socket: Broken pipe');
  await expect(stream.send(Buffer.alloc(1))).rejects.toThrow('Unable to write to socket: Broken pipe');
});
