/* The line grammar of the shell: what each kind of word becomes, and qmp-shell's error texts. */
import { describe, expect, it } from 'vitest';
import { writeJson } from '../../src/core/util/json-write.ts';
import { parseCommand, splitWords } from '../../src/qmp-shell/parse.ts';

async function sent(line: string): Promise<string> {
  const { args } = await parseCommand(line);
  return writeJson(args, { order: 'insertion' });
}

async function refused(line: string): Promise<string> {
  try {
    await parseCommand(line);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'accepted';
}

describe('words', () => {
  it.each<[string, string[]]>([
    ['a  b\tc ', ['a', 'b', 'c']],
    ['x p="q q" r', ['x', 'p="q q"', 'r']],
    ["x p='a \"b' r", ['x', "p='a \"b'", 'r']],
    ['x l=[1, {"a": 2}] r', ['x', 'l=[1, {"a": 2}]', 'r']],
    ['x o={"t": "}"} r', ['x', 'o={"t": "}"}', 'r']],
    ["don't stop", ["don't", 'stop']],
    ['x f=a{b c', ['x', 'f=a{b', 'c']],
    ['x f={a b', ['x', 'f={a', 'b']],
  ])('%s', (line, words) => expect(splitWords(line)).toEqual(words));
});

describe('values', () => {
  it.each([
    ['x a=5', '{"a": 5}'],
    ['x a=-5', '{"a": -5}'],
    ['x a=+5', '{"a": 5}'],
    ['x a=007', '{"a": 7}'],
    ['x a=1_000', '{"a": 1000}'],
    ['x a=1__0', '{"a": "1__0"}'],
    ['x a=9223372036854775807', '{"a": 9223372036854775807}'],
    ['x a=0x10', '{"a": "0x10"}'],
    ['x a=1e3', '{"a": "1e3"}'],
    ['x a=1.5', '{"a": "1.5"}'],
    ['x a=True b=fALSE', '{"a": true, "b": false}'],
    ['x a=null', '{"a": "null"}'],
    ['x a=', '{"a": ""}'],
    ['x a=b=c', '{"a": "b=c"}'],
    ['x a="b c"', '{"a": "b c"}'],
    ['x a=\'say "hi"\'', '{"a": "say \\"hi\\""}'],
    ['x a="5"', '{"a": "5"}'],
  ])('%s', async (line, text) => expect(await sent(line)).toBe(text));

  it.each([
    ['x l=[1,2.0]', '{"l": [1, 2]}'],
    ['x o={"big":9007199254740993}', '{"o": {"big": 9007199254740993}}'],
    ["x l=[True,{'a':None}]", '{"l": [true, {"a": null}]}'],
    ["x l=['True',False,]", '{"l": ["True", false]}'],
    ['x o={"0":"x"}', '{"o": {"0": "x"}}'],
    ['x o={"__proto__":1}', '{"o": {"__proto__": 1}}'],
  ])('JSON and Python: %s', async (line, text) => expect(await sent(line)).toBe(text));

  it('sends what is neither as text, and says so', async () => {
    const { args, notes } = await parseCommand('x l=[1,2,');
    expect(args['l']).toBe('[1,2,');
    expect(notes).toEqual(["'l' is sent as text: [1,2, is neither JSON nor a Python literal"]);
  });
});

describe('dotted keys', () => {
  it.each([
    ['x file.driver=file file.filename=f', '{"file": {"driver": "file", "filename": "f"}}'],
    ['x a.b.c=1 a.b.d=2 a.e=3', '{"a": {"b": {"c": 1, "d": 2}, "e": 3}}'],
    ['x bitmaps.0=a bitmaps.1.node=n', '{"bitmaps": ["a", {"node": "n"}]}'],
    ['x a.1=b', '{"a": {"1": "b"}}'],
    ['x file={"driver":"file"} file.filename=f', '{"file": {"driver": "file", "filename": "f"}}'],
    ['x __proto__.a=1', '{"__proto__": {"a": 1}}'],
  ])('%s', async (line, text) => expect(await sent(line)).toBe(text));

  it.each([
    ['x a=1 a=2', 'Error while parsing command line: Cannot set "a" multiple times'],
    ['x a.b=1 a.b=2', 'Error while parsing command line: Cannot set "a.b" multiple times'],
    ['x a=1 a.b=2', 'Error while parsing command line: Cannot use "a" as both leaf and non-leaf key'],
    ['x a.b=1 a=2', 'Error while parsing command line: Cannot use "a" as both leaf and non-leaf key'],
    ['x a.b.c=1 a.b=2', 'Error while parsing command line: Cannot use "a.b" as both leaf and non-leaf key'],
    ['x a="foo', `Error while parsing command line: No closing quotation for " in '"foo'`],
    ["x a='foo bar", `Error while parsing command line: No closing quotation for ' in ''foo'`],
    ['x a=fo"o', `Error while parsing command line: No closing quotation for " in 'fo"o'`],
    ['x size', "Error while parsing command line: Expected a key=value pair, got 'size'"],
  ])('refuses %s', async (line, text) => expect(await refused(line)).toBe(text));
});
