/*
 * Plays a script of QMP input to a program that speaks QMP on its standard streams, and writes down what came back as a
 * text that must be equal for the peer and for us: replies in order, then events in order, step by step. Normalised: times,
 * the version's package text, generated node names, the test's folder, sizes on the medium, and where a reply falls among
 * events. Knows nothing of the scripts.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/**
 * One step of a script:
 * - `name {…}`: the command with these arguments (JSON, optional);
 * - `name {…} => EVENT [TEXT]`: the same, and until this event came that contains TEXT (it may come before the next command does);
 * - `> TEXT`: these bytes and a line end; what they are answered is found by a command of the harness sent after them;
 * - `>> N TEXT`: the same without that command: exactly N messages are awaited;
 * - `hmp LINE`: the line through human-monitor-command;
 * - `settle`: until the jobs say twice the same;
 * - `# …`: nothing.
 * `@` followed by a slash is the test's folder.
 */
export type Step = string;

export interface Script {
  readonly name: string;
  /** Begins with qmp_capabilities; default true. */
  readonly negotiate?: boolean;
  /** Events are compared at the end, those of a job or an export in their order: for scripts that wait for none. */
  readonly eventsApart?: boolean;
  /** Further command-line words; `@/` as above. */
  readonly options?: readonly string[];
  /** Disks of a machine. */
  readonly disks?: readonly { readonly name: string; readonly file: string; readonly format: string; readonly readOnly?: boolean }[];
  readonly steps: readonly Step[];
}

const patienceMs = 30_000;

/** A program that lives and does not answer. */
export class Unresponsive extends Error {}

interface Waiter {
  readonly isEnough: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A program on pipes: lines in, bytes out. */
class Talker {
  readonly #child: ChildProcess;
  readonly lines: string[] = [];
  /** What is no QMP: text of qemu-io, which comes when the program's buffers are full or at its end. */
  readonly output: string[] = [];
  #rest = '';
  #errors = '';
  #isEnded = false;
  #waiter: Waiter | undefined;
  /** Settles when the program is gone. */
  readonly #ended: Promise<void>;

  constructor(program: string, args: readonly string[], cwd: string) {
    this.#child = spawn(program, args, { cwd, stdio: ['pipe', 'pipe', 'pipe'], env: cleanEnvironment() });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
    this.#child.stdin?.on('error', () => {});
    this.#ended = new Promise((resolve) =>
      this.#child.on('close', () => {
        this.#isEnded = true;
        this.#check();
        resolve();
      }),
    );
  }

  send(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until `isEnough`; fails when the program ends or says nothing more. */
  until(isEnough: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(new Unresponsive(`no answer to ${what}; so far:\n${this.lines.join('\n')}\n${this.#errors}`)), patienceMs);
      const finish = (error?: Error): void => {
        clearTimeout(timer);
        this.#waiter = undefined;
        if (error === undefined) resolve();
        else reject(error);
      };
      this.#waiter = { isEnough, resolve: () => finish(), reject: (error) => finish(error) };
      this.#check();
    });
  }

  async end(): Promise<void> {
    // the channel stays open meanwhile: what the end raises is heard
    if (!this.#isEnded) this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patienceMs);
    await this.#ended;
    clearTimeout(timer);
    this.#child.stdin?.destroy();
    if (this.#child.signalCode === 'SIGKILL') throw new Unresponsive(`does not end; so far:\n${this.lines.join('\n')}\n${this.#errors}`);
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get errors(): string {
    return this.#errors;
  }

  #take(text: string): void {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop() ?? '';
    for (const part of parts) {
      if (part.startsWith('{') && part.endsWith('\r')) this.lines.push(part.slice(0, -1));
      else this.output.push(part);
    }
    this.#check();
  }

  #check(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    if (waiter.isEnough()) waiter.resolve();
    else if (this.#isEnded) waiter.reject(new Error(`the program ended: ${this.#errors}\n${this.lines.join('\n')}`));
  }
}

function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _certificates, ...env } = process.env;
  return env;
}

/** Plays `script` to the program and returns the transcript. */
export async function play(program: string, args: readonly string[], script: Script, folder: string): Promise<string> {
  const talker = new Talker(program, args, folder);
  const transcript = new Transcript(folder, script.eventsApart === true);
  try {
    await talker.until(() => talker.lines.length > 0, 'the connection');
    transcript.step('(greeting)', talker.lines.splice(0));
    const steps = script.negotiate === false ? script.steps : ['qmp_capabilities', ...script.steps];
    let sent = 0;
    for (const step of steps) {
      if (step.startsWith('#')) continue;
      const text = step.replaceAll('@/', `${folder}/`);
      if (text === 'settle') await settle(talker);
      else if (text.startsWith('>> ')) await exactly(talker, text);
      else {
        const [command = '', event] = text.startsWith('> ') ? [text] : text.split(' => ');
        await withMarker(talker, command.startsWith('> ') ? `${command.slice(2)}\n` : `${message(command)}\n`, `mark-${sent++}`);
        if (event !== undefined) await waitFor(talker, event);
      }
      transcript.step(step, talker.lines.splice(0));
    }
  } finally {
    await talker.end();
  }
  if (talker.lines.length > 0) transcript.step('(end)', talker.lines.splice(0));
  if (talker.output.length > 0) transcript.step('(output)', talker.output.splice(0));
  return transcript.toString();
}

async function waitFor(talker: Talker, what: string): Promise<void> {
  const [, event = '', part = ''] = /^(\S+) ?(.*)$/.exec(what) ?? [];
  await talker.until(() => talker.lines.some((line) => line.includes(`"event": "${event}"`) && line.includes(part)), what);
}

/** Asks for the jobs until the answer is the one before; the answers are no part of the transcript. */
async function settle(talker: Talker): Promise<void> {
  for (let last = '', question = 0; ; question++) {
    talker.send(`{"execute":"query-jobs","id":"settle-${question}"}\n`);
    const find = (): number => talker.lines.findIndex((line) => line.includes(`"id": "settle-${question}"`));
    await talker.until(() => find() >= 0, 'settle');
    const [answer = ''] = talker.lines.splice(find(), 1);
    const jobs = answer.slice(0, answer.lastIndexOf(', "id"'));
    if (jobs === last) return;
    last = jobs;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function exactly(talker: Talker, step: string): Promise<void> {
  const [, count = '0', text = ''] = /^>> (\d+) (.*)$/s.exec(step) ?? [];
  talker.send(`${text}\n`);
  await talker.until(() => talker.lines.length >= Number(count), step);
}

async function withMarker(talker: Talker, text: string, marker: string): Promise<void> {
  talker.send(`${text}{"execute":"query-version","id":"${marker}"}\n`);
  const isMarker = (line: string): boolean => line.includes(`"id": "${marker}"`);
  const isGone = text.startsWith('{"execute":"quit"}');
  await talker.until(() => (isGone ? talker.isEnded : talker.lines.some(isMarker)), text);
  const at = talker.lines.findIndex(isMarker);
  if (at >= 0) talker.lines.splice(at, 1);
}

function message(step: string): string {
  if (step.startsWith('hmp ')) return `{"execute":"human-monitor-command","arguments":{"command-line":${JSON.stringify(step.slice(4))}}}`;
  const [, name = '', args = ''] = /^(\S+) ?(.*)$/s.exec(step) ?? [];
  return `{"execute":"${name}"${args === '' ? '' : `,"arguments":${args}`}}`;
}

class Transcript {
  readonly #folder: string;
  readonly #names = new Map<string, string>();
  readonly #eventsApart: boolean;
  readonly #events: string[] = [];
  #text = '';

  constructor(folder: string, eventsApart: boolean) {
    this.#folder = folder;
    this.#eventsApart = eventsApart;
  }

  step(step: string, lines: readonly string[]): void {
    const clean = lines.map((line) => this.#normalise(line));
    const replies = clean.filter((line) => !line.includes('"event": '));
    const events = withoutPauses(clean.filter((line) => line.includes('"event": ')));
    if (this.#eventsApart) this.#events.push(...events.splice(0));
    this.#text += [`-> ${step}`, ...replies, ...events].map((line) => `${line}\n`).join('');
  }

  #normalise(line: string): string {
    return line
      .replaceAll(this.#folder, '@')
      .replace(/"timestamp": \{[^}]*\}/g, '"timestamp": T')
      .replace(/"package": "[^"]*"/g, '"package": P')
      .replace(/"actual-size": \d+/g, '"actual-size": N')
      .replace(/_time_ns(": |=)\d+/g, '_time_ns$1N')
      .replace(/11\.1\.2[^"\\]*/g, 'VERSION')
      .replace(/disk size: [^\\]*/g, 'disk size: N')
      .replace(/ops; .*/g, 'ops; T')
      .replace(/(Read|Write|Flush):( +\d+)?( +\d+) +\d+ /g, '$1:$2$3 N ')
      .replace(/#block\d+/g, (name) => {
        const known = this.#names.get(name) ?? `#block${String.fromCharCode(65 + this.#names.size)}`;
        this.#names.set(name, known);
        return known;
      });
  }

  toString(): string {
    return this.#text + bySubject(withoutPauses(this.#events)).join('\n');
  }
}

/** Each drain of a job's nodes may show as a pair paused, running: how many there are is not determined. */
function withoutPauses(events: readonly string[]): string[] {
  const kept: string[] = [];
  for (const event of events) {
    const id = /"status": "running", "id": "([^"]*)"/.exec(event)?.[1];
    const ofSameJob = (other: string): boolean => other.includes(`"id": "${id}"`) || other.includes(`"device": "${id}"`);
    const at = id === undefined ? -1 : kept.findLastIndex(ofSameJob);
    if (at >= 0 && kept[at]?.includes('"status": "paused"')) kept.splice(at, 1);
    else kept.push(event);
  }
  return kept;
}

/** Events of one job or export stand together, in their order. */
function bySubject(events: readonly string[]): string[] {
  const subject = (event: string): string => /"(?:id|device)": "([^"]*)"/.exec(event)?.[1] ?? '';
  return events
    .map((event) => ({ event, of: subject(event) }))
    .toSorted((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : 0))
    .map(({ event }) => event);
}
