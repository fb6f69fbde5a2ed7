/* The job state machine as data. Rule source: QEMU's documented job states and verbs (11.1). */

export type JobStatus = 'created' | 'running' | 'paused' | 'ready' | 'standby' | 'waiting' | 'pending' | 'aborting' | 'concluded' | 'null';
export type JobVerb = 'cancel' | 'pause' | 'resume' | 'set-speed' | 'complete' | 'finalize' | 'dismiss' | 'change';

const next: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  created: ['running', 'aborting', 'null'],
  running: ['paused', 'ready', 'waiting', 'aborting'],
  paused: ['running'],
  ready: ['standby', 'waiting', 'aborting'],
  standby: ['ready'],
  waiting: ['pending', 'aborting'],
  pending: ['aborting', 'concluded'],
  aborting: ['concluded'],
  concluded: ['null'],
  null: [],
};

const working: readonly JobStatus[] = ['created', 'running', 'paused', 'ready', 'standby'];
const verbs: Readonly<Record<JobVerb, readonly JobStatus[]>> = {
  cancel: [...working, 'waiting', 'pending'],
  pause: working,
  resume: working,
  'set-speed': working,
  change: working,
  complete: ['ready', 'standby'],
  finalize: ['pending'],
  dismiss: ['concluded'],
};

export function mayBecome(from: JobStatus | undefined, to: JobStatus): boolean {
  return from === undefined ? to === 'created' : next[from].includes(to);
}

export function mayApply(verb: JobVerb, status: JobStatus): boolean {
  return verbs[verb].includes(status);
}

/** The body is at work or may be. */
export function hasWork(status: JobStatus): boolean {
  return working.includes(status);
}

/** Nothing more will happen by itself. */
export function isOver(status: JobStatus): boolean {
  return status === 'concluded' || status === 'null';
}
