/* Events that have come and were not waited for yet: `wait` takes the first that fits, one that came before the line included. */
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';
import { writeJson } from '../core/util/json-write.ts';

const maxKept = 10_000;

export class EventLog {
  readonly #events: JsonObject[] = [];
  readonly #wakers = new Set<() => void>();
  #closed: string | undefined;

  add(event: JsonObject): void {
    this.#events.push(event);
    if (this.#events.length > maxKept) this.#events.shift();
    this.#wake();
  }

  /** No event comes any more: those who wait are told `reason`. */
  close(reason: string): void {
    this.#closed = reason;
    this.#wake();
  }

  /** Takes the first event that fits. Rejects after `timeoutMs`, when `signal` aborts, and when no more can come. */
  async take(name: string, data: JsonObject, timeoutMs: number, signal?: AbortSignal): Promise<JsonObject> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const index = this.#events.findIndex((event) => event['event'] === name && fits(event['data'], data));
      if (index >= 0) {
        const [found] = this.#events.splice(index, 1);
        if (found !== undefined) return found;
      }
      if (signal?.aborted === true) throw new BlockError('interrupted', { code: 'EINTR' });
      if (this.#closed !== undefined) throw new BlockError(this.#closed, { code: 'ERR_OPTION' });
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw this.#missed(name, data, timeoutMs);
      await this.#next(leftMs, signal);
    }
  }

  #next(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wakers.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wakers.add(done);
      signal?.addEventListener('abort', done);
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  #missed(name: string, data: JsonObject, timeoutMs: number): BlockError {
    const wanted = Object.keys(data).length === 0 ? '' : ` with ${writeJson(data)}`;
    const same = this.#events.filter((event) => event['event'] === name).map((event) => writeJson(event['data'] ?? {}));
    const hint = same.length === 0 ? 'no event of this name has come' : `of this name have come: ${same.slice(-4).join(' ')}`;
    return new BlockError(`No event ${name}${wanted} has come in ${timeoutMs / 1000}s`, { code: 'ETIMEDOUT', hint });
  }
}

/** Whether `found` has every member of `wanted` with the same value. */
function fits(found: Json | undefined, wanted: Json): boolean {
  if (!isJsonObject(wanted)) return writeJson(found) === writeJson(wanted) || (typeof found !== 'object' && String(found) === String(wanted));
  return Object.entries(wanted).every(([key, value]) => isJsonObject(found) && fits(found[key], value));
}
