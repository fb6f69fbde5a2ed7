import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { listening } from '../../support/listening.ts';
import type { Fault } from '../fault.ts';
import { peakMemory, type Stage } from '../stage.ts';

const mebibyte = 1024 * 1024;
const clients = 16;
/** One largest payload and 8 MiB, for each client. */
const limit = clients * 40 * mebibyte;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const option = (number: number, data: Buffer): Buffer => Buffer.concat([Buffer.from('IHAVEOPT'), u32(number), u32(data.length), data]);
/** Flags 3, structured replies perhaps, GO to the export without a name. */
const handshake = (isStructured: boolean): Buffer =>
  Buffer.concat([u32(3), isStructured ? option(8, Buffer.alloc(0)) : Buffer.alloc(0), option(7, Buffer.alloc(6))]);

function request(type: number, flags: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x25609513);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(offset, 20);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

async function connect(path: string): Promise<Socket> {
  const { connect: open } = await import('node:net');
  const socket = open(path);
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

/** Rounds of another client, each a read of 512 bytes: true when all were answered. */
async function isServed(path: string, rounds: number): Promise<boolean> {
  const socket = await connect(path);
  let heard = 0;
  let wake: () => void = () => {};
  let isOver = false;
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.length;
    wake();
  });
  socket.on('close', () => {
    isOver = true;
    wake();
  });
  const hears = async (bytes: number): Promise<void> => {
    while (heard < bytes && !isOver) await new Promise<void>((resolve) => (wake = resolve));
  };
  socket.write(handshake(false));
  // greeting, block sizes, export, acknowledgement
  let expected = 18 + 34 + 32 + 20;
  await hears(expected);
  for (let round = 0; round < rounds && !isOver; round++) {
    expected += 16 + 512;
    socket.write(request(0, 0, 0, 512));
    await hears(expected);
  }
  socket.destroy();
  return heard === expected;
}

function scene(name: string, isStructured: boolean, requests: Buffer): Fault {
  return {
    name,
    kind: 'memory',
    expected: 'at most 40 MiB a client; others are served: true; exit 0',
    play: async (stage: Stage) => {
      writeFileSync(stage.path('disk'), Buffer.alloc(64 * mebibyte, 7));
      const path = stage.path('nbd.sock');
      const [node, file] = stage.command('tsnbd');
      const child = stage.start(node, [file, '-t', '-e', '0', '-f', 'raw', '-k', path, stage.path('disk')]);
      const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
      await listening(path);
      await isServed(path, 1);
      const pid = child.pid ?? 0;
      const before = peakMemory(pid);
      const deaf = await Promise.all(Array.from({ length: clients }, () => connect(path)));
      for (const socket of deaf) {
        socket.pause();
        socket.on('error', () => {});
        socket.write(Buffer.concat([handshake(isStructured), requests]));
      }
      const served = await isServed(path, 400);
      const grown = peakMemory(pid) - before;
      for (const socket of deaf) socket.destroy();
      process.kill(pid, 'SIGTERM');
      const size = grown <= limit ? 'at most 40 MiB' : `${Math.round(grown / clients / mebibyte)} MiB`;
      return `${size} a client; others are served: ${served}; exit ${await ended}`;
    },
  };
}

const many = (bytes: Buffer): Buffer => Buffer.concat(Array.from({ length: 200 }, () => bytes));

/** Sixteen clients that ask and never listen: what they make the server keep is bounded, whatever they ask. */
const faults: Fault[] = [
  scene('nbd-whole-reads-never-taken', false, many(request(0, 0, 0, 32 * mebibyte))),
  scene('nbd-reads-with-fua-never-taken', false, many(request(0, 1, 0, 32 * mebibyte))),
  scene('nbd-sparse-reads-never-taken', true, many(request(0, 0, 0, 32 * mebibyte))),
  scene('nbd-payloads-never-finished', false, Buffer.concat([many(request(0, 0, 0, 512 * 1024)), request(1, 0, 0, 32 * mebibyte), Buffer.alloc(mebibyte)])),
];
export default faults;
