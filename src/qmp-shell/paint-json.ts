/* JSON for people on a terminal: what fits into a row stays in one, the rest is broken and indented; coloured. Text only. */
import { isJsonObject, type Json } from '../core/util/json.ts';
import { jsonKeyOrder } from '../core/util/json-order.ts';
import { writeJson } from '../core/util/json-write.ts';
import { type Painter, plainPainter } from './render.ts';

export interface PaintOptions {
  /** Width of the terminal; undefined: one line however long. */
  readonly columns?: number | undefined;
  readonly painter?: Painter | undefined;
}

const step = '    ';

/** The value as text, without a line end. */
export function paintJson(value: Json, { columns, painter = plainPainter }: PaintOptions = {}): string {
  return paint(value, '', 0, 0, columns ?? Number.POSITIVE_INFINITY, painter);
}

/** `taken`: columns that stand before the value on its line; `after`: what follows it there. */
function paint(value: Json, margin: string, taken: number, after: number, columns: number, painter: Painter): string {
  const isList = Array.isArray(value);
  if (!isList && !isJsonObject(value)) return scalar(value, painter);
  // QEMU's order; members that are not told are undefined
  const entries: readonly (readonly [key: string | undefined, member: Json])[] = isList
    ? value.map((member) => [undefined, member])
    : jsonKeyOrder(Object.keys(value)).flatMap((key) => (value[key] === undefined ? [] : [[key, value[key]] as const]));
  const [open, close] = isList ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return open + close;
  const isRow = columns === Number.POSITIVE_INFINITY || taken + width(value) + after <= columns;
  const inner = isRow ? '' : margin + step;
  const members = entries.map(([key, member]) => {
    const label = key === undefined ? '' : `${painter.key(writeJson(key))}: `;
    const labelWidth = key === undefined ? 0 : writeJson(key).length + 2;
    return `${isRow ? '' : `\n${inner}`}${label}${paint(member, inner, inner.length + labelWidth, 1, isRow ? Number.POSITIVE_INFINITY : columns, painter)}`;
  });
  return `${open}${members.join(isRow ? ', ' : ',')}${isRow ? '' : `\n${margin}`}${close}`;
}

function width(value: Json): number {
  return writeJson(value).length;
}

function scalar(value: Json, painter: Painter): string {
  const text = writeJson(value);
  if (typeof value === 'string') return painter.text(text);
  return value === null || typeof value === 'boolean' ? painter.word(text) : painter.number(text);
}

/** Text in lines of at most `columns`, broken at blanks; later lines are indented. Words longer than a line stay whole. */
export function wrapText(text: string, columns: number, indent = '  '): string {
  return text
    .split('\n')
    .map((line) => {
      const lines: string[] = [];
      let current = '';
      for (const word of line.split(' ')) {
        const next = current === '' ? word : `${current} ${word}`;
        if (next.length <= columns || current.trim() === '') current = next;
        else {
          lines.push(current);
          current = indent + word;
        }
      }
      return [...lines, current].join('\n');
    })
    .join('\n');
}
