import { describe, expect, it } from 'vitest';
import { paintJson, wrapText } from '../../src/qmp-shell/paint-json.ts';
import { plainPainter } from '../../src/qmp-shell/render.ts';

describe('JSON on a terminal', () => {
  const value = { return: [{ device: 'hd', size: 4096, locked: false, none: [] }] };

  it('stays in a row where it fits, by its last column', () => {
    const row = '{"return": [{"device": "hd", "locked": false, "size": 4096, "none": []}]}';
    expect(paintJson(value)).toBe(row);
    expect(paintJson(value, { columns: row.length })).toBe(row);
    expect(paintJson(value, { columns: row.length - 1 })).toBe(
      '{\n    "return": [\n        {"device": "hd", "locked": false, "size": 4096, "none": []}\n    ]\n}',
    );
  });

  it('breaks no deeper than it has to', () => {
    for (const columns of [20, 40, 60]) {
      const text = paintJson(value, { columns });
      expect(JSON.parse(text)).toEqual(value);
      for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(Math.max(columns, 29));
    }
  });

  it('is painted by kinds, and leaves out what is undefined', () => {
    const painter = {
      ...plainPainter,
      key: (text: string) => `k${text}`,
      text: (text: string) => `t${text}`,
      number: (text: string) => `n${text}`,
      word: (text: string) => `w${text}`,
    };
    const members: Record<string, string | number | null> = { a: 'x', b: 1, c: null };
    Object.assign(members, { gone: undefined });
    expect(paintJson(members, { painter })).toBe('{k"a": t"x", k"b": n1, k"c": wnull}');
  });
});

it.each([
  ['one two three', 9, 'one two\n  three'],
  ['one two three', 80, 'one two three'],
  ['averylongword and', 5, 'averylongword\n  and'],
  ['a b\nc d', 1, 'a\n  b\nc\n  d'],
])('wraps %j at %i', (text, columns, lines) => expect(wrapText(text, columns)).toBe(lines));
