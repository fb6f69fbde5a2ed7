/* Colours, only on a terminal and without NO_COLOR, and events as lines for people. chalk loads when colours are on. */
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import { writeJson } from '../core/util/json-write.ts';

/** Text for a terminal; each method leaves its text alone where there are no colours. */
export interface Painter {
  error(text: string): string;
  hint(text: string): string;
  note(text: string): string;
  warning(text: string): string;
  event(text: string): string;
  /** Names of nodes, devices, jobs in pictures. */
  name(text: string): string;
  /** What matters less. */
  soft(text: string): string;
  /** Data that were saved. */
  good(text: string): string;
  /** Parts of JSON: names of members, texts, numbers, and true, false, null. */
  key(text: string): string;
  text(text: string): string;
  number(text: string): string;
  word(text: string): string;
}

const same = (text: string): string => text;
export const plainPainter: Painter = {
  error: same,
  hint: same,
  note: same,
  warning: same,
  event: same,
  name: same,
  soft: same,
  good: same,
  key: same,
  text: same,
  number: same,
  word: same,
};

/** Whether `stream` is a terminal that shows colours; NO_COLOR and TERM=dumb switch them off. */
export function hasColour(stream: { readonly isTTY?: boolean }, env: Readonly<Record<string, string | undefined>>): boolean {
  return stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

export async function createPainter(isColoured: boolean): Promise<Painter> {
  if (!isColoured) return plainPainter;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  return {
    error: (text) => chalk.red(text),
    hint: (text) => chalk.yellow(text),
    note: (text) => chalk.blue(text),
    warning: (text) => chalk.bold.yellow(text),
    event: (text) => chalk.cyan(text),
    name: (text) => chalk.bold(text),
    soft: (text) => chalk.dim(text),
    good: (text) => chalk.green(text),
    key: (text) => chalk.cyan(text),
    text: (text) => chalk.green(text),
    number: (text) => chalk.yellow(text),
    word: (text) => chalk.magenta(text),
  };
}

/** `event NAME key=value …`. */
export function eventText(event: JsonObject): string {
  const { data } = event;
  const members = isJsonObject(data) ? Object.entries(data) : [];
  const words = members.map(([key, value]) => `${key}=${typeof value === 'string' && !/[\s"=]/.test(value) ? value : writeJson(value)}`);
  return `event ${[String(event['event']), ...words].join(' ')}`;
}

/** The text of a warning event of ours; undefined for all others. */
export function warningText(event: JsonObject): string | undefined {
  if (event['event'] !== 'TSIMG_SNAPSHOT_THAWED' || !isJsonObject(event['data'])) return undefined;
  const { 'node-name': node, export: id } = event['data'];
  return `warning: the view of '${String(node)}' is not frozen any more: its backup ended while export '${String(id)}' is open, readers see the guest's writes from now on (remove the export first)`;
}
