/* nbd-read.mjs SOCKET EXPORT FILE: reads a whole NBD export into a file. A client of its own, so that the demo needs none installed. */
import { closeSync, openSync, writeSync } from 'node:fs';
import net from 'node:net';

const [socketPath, exportName, file] = process.argv.slice(2);
const socket = net.connect(socketPath);
let buffer = Buffer.alloc(0);
let wake = () => {};
let failure;
socket.on('data', (chunk) => {
  buffer = Buffer.concat([buffer, chunk]);
  wake();
});
for (const event of ['error', 'close']) {
  socket.on(event, (error) => {
    failure ??= error instanceof Error ? error : new Error('the server closed the connection');
    wake();
  });
}

async function take(length) {
  while (buffer.length < length) {
    if (failure !== undefined) throw failure;
    await new Promise((resolve) => {
      wake = resolve;
    });
  }
  const taken = buffer.subarray(0, length);
  buffer = buffer.subarray(length);
  return taken;
}

// fixed newstyle handshake without zeroes, then EXPORT_NAME (NBD protocol document)
const greeting = await take(18);
if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no NBD server');
const name = Buffer.from(exportName);
const hello = Buffer.alloc(20);
hello.writeUInt32BE(3, 0);
hello.write('IHAVEOPT', 4, 'latin1');
hello.writeUInt32BE(1, 12);
hello.writeUInt32BE(name.length, 16);
socket.write(Buffer.concat([hello, name]));
const size = Number((await take(10)).readBigUInt64BE(0));

const output = openSync(file, 'w');
const step = 1024 * 1024;
for (let offset = 0; offset < size; offset += step) {
  const length = Math.min(step, size - offset);
  const request = Buffer.alloc(28);
  request.writeUInt32BE(0x25609513, 0);
  request.writeBigUInt64BE(BigInt(offset), 8);
  request.writeBigUInt64BE(BigInt(offset), 16);
  request.writeUInt32BE(length, 24);
  socket.write(request);
  const reply = await take(16);
  if (reply.readUInt32BE(0) !== 0x67446698 || reply.readUInt32BE(4) !== 0) throw new Error(`read of ${length} bytes at ${offset} failed`);
  writeSync(output, await take(length), 0, length, offset);
}
closeSync(output);
const bye = Buffer.alloc(28);
bye.writeUInt32BE(0x25609513, 0);
bye.writeUInt16BE(2, 6);
socket.end(bye);
