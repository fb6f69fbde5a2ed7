/*
 * The facet of a driver that can stop requests at named events (blkdebug): breakpoints with tags, as the commands `break`,
 * `wait_break`, `resume` and `remove_break` of the qemu-io language use them. Events and their names are the driver's.
 */
export interface DebugPoints {
  /** The next request that comes to `event` stops there under `tag`. Throws ENOENT for an event that does not exist. */
  debugBreakpoint(event: string, tag: string): void;
  /** Takes the breakpoints of that tag away and lets requests that stopped at them go on. Throws ENOENT when there are none. */
  debugRemoveBreakpoint(tag: string): void;
  /** Lets the request that stopped under `tag` go on. Throws ENOENT when none did. */
  debugResume(tag: string): void;
  /** Whether a request stands at `tag` now. */
  debugIsSuspended(tag: string): boolean;
}
