/*
 * Time as a port: real, and moved by hand in tests. The one place where timers are set and clocks are read; what needs
 * either gets a Clock from whoever made it. No request on the cached path asks it anything.
 */

export interface Clock {
  /** Milliseconds since the epoch, with fraction; never runs backwards. */
  now(): number;
  /** Settles after `ms`, or when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `act` after `ms` unless the function that it returns is called before. Keeps no process alive. */
  after(ms: number, act: () => void): () => void;
  /** Settles in the next turn of the event loop: everybody else has had a turn by then. */
  nextTurn(): Promise<void>;
  /** Calls `act` in the next turn of the event loop, without a promise. */
  soon(act: () => void): void;
}

/** Turns of the event loop are no time that passes: every clock has the same. */
export const eventLoop: Pick<Clock, 'nextTurn' | 'soon'> = {
  nextTurn: () => new Promise((resolve) => setImmediate(resolve)),
  soon: (act) => void setImmediate(act),
};

const { timeOrigin } = performance;

/** The longest that Node's timers carry; longer ones would be over at once. */
const longestTimer = 2 ** 31 - 1;

/** Calls `act` after `ms`, however long that is. Returns what gives it up. */
function startTimer(ms: number, act: () => void, keepsAlive: boolean): () => void {
  let left = ms;
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    const part = Math.min(left, longestTimer);
    left -= part;
    timer = setTimeout(left > 0 ? arm : act, part);
    if (!keepsAlive) timer.unref();
  };
  arm();
  return () => clearTimeout(timer);
}

export const realClock: Clock = {
  ...eventLoop,
  now: () => timeOrigin + performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const stop = startTimer(ms, done, true);
      function done(): void {
        stop();
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done);
    }),
  after: (ms, act) => startTimer(ms, act, false),
};
