/* Colours, only on a terminal and without NO_COLOR, and events as lines for people. chalk loads when colours are on. */
import { isJsonObject, type JsonObject } from '../core/util/json.ts';

export interface Painter {
  reply(text: string, isError: boolean): string;
  error(text: string): string;
  hint(text: string): string;
  event(text: string): string;
}

const plain: Painter = { reply: (text) => text, error: (text) => text, hint: (text) => text, event: (text) => text };

export async function createPainter(hasColour: boolean): Promise<Painter> {
  if (!hasColour) return plain;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  return {
    reply: (text, isError) => (isError ? chalk.red(text) : text),
    error: (text) => chalk.red(text),
    hint: (text) => chalk.yellow(text),
    event: (text) => chalk.cyan(text),
  };
}

/** `NAME key=value …` of an event; our own warning as a sentence. */
export function eventText(event: JsonObject): string | undefined {
  const { data } = event;
  const members = isJsonObject(data) ? data : {};
  const name = String(event['event']);
  const warning = warningText(event);
  if (warning !== undefined) return warning;
  const words = Object.entries(members).map(([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`);
  return `event ${[name, ...words].join(' ')}`;
}

/** The text of a warning event of ours; undefined for all others. */
export function warningText(event: JsonObject): string | undefined {
  if (event['event'] !== 'TSIMG_SNAPSHOT_THAWED' || !isJsonObject(event['data'])) return undefined;
  const { 'node-name': node, export: id } = event['data'];
  return `warning: the view of '${String(node)}' is not frozen any more: its backup ended while export '${String(id)}' is open, readers see the guest's writes from now on (remove the export first)`;
}
