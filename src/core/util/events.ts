/* Events that nodes, jobs and exports raise; monitors listen. Listeners are called in order, at once, and must not throw. */

export interface EngineEvent {
  /** QMP's name: `JOB_STATUS_CHANGE`. */
  readonly name: string;
  /** QMP's data; undefined when the event has none. */
  readonly data: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the epoch, with fraction. */
  readonly timestampMs: number;
  /** An event of our own, not one of QEMU's: never sent under --strict. */
  readonly isOwn: boolean;
}

export type EventListener = (event: EngineEvent) => void;

export class EventSink {
  readonly #listeners = new Set<EventListener>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  emit(name: string, data?: Readonly<Record<string, unknown>>, options: { readonly isOwn?: boolean } = {}): void {
    const event: EngineEvent = { name, data, timestampMs: this.#now(), isOwn: options.isOwn ?? false };
    for (const listener of [...this.#listeners]) listener(event);
  }

  listen(listener: EventListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}
