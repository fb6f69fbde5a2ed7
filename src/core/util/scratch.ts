/* Buffers for bytes on their way through a driver: copied edges of clusters, compressed or enciphered data. Reused, never zeroed. */

const keepEach = 4;

export class ScratchPool {
  readonly #free = new Map<number, Uint8Array[]>();

  /** Memory of at least `size` bytes, cut to `size`; the content is arbitrary. Give it back with `put`. */
  take(size: number): Uint8Array {
    const room = 2 ** Math.ceil(Math.log2(Math.max(size, 512)));
    const found = this.#free.get(room)?.pop();
    return found === undefined ? new Uint8Array(room).subarray(0, size) : found.subarray(0, size);
  }

  put(bytes: Uint8Array): void {
    const whole = new Uint8Array(bytes.buffer);
    const list = this.#free.get(whole.length);
    if (list === undefined) this.#free.set(whole.length, [whole]);
    else if (list.length < keepEach) list.push(whole);
  }
}
