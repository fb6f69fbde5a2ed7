/* What each kind of line sends, and what comes of the answer. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/util/json.ts';
import { writeJson } from '../../src/core/util/json-write.ts';
import { Interpreter, type InterpreterOptions } from '../../src/qmp-shell/interpreter.ts';
import { FakeTransport } from './fake-transport.ts';

function shell(options: InterpreterOptions = {}): { transport: FakeTransport; interpreter: Interpreter; sent(): string[] } {
  const transport = new FakeTransport();
  return {
    transport,
    interpreter: new Interpreter(transport, options),
    sent: () => transport.sent.map((message) => writeJson(message, { order: 'insertion' })),
  };
}

async function sentBy(...lines: string[]): Promise<string[]> {
  const { interpreter, sent } = shell();
  for (const line of lines) await interpreter.run(line);
  return sent();
}

const human = (line: string): string => writeJson({ execute: 'human-monitor-command', arguments: { 'command-line': line } }, { order: 'insertion' });

describe('lines', () => {
  it('sends a command with its arguments, and none for a blank line or a comment', async () => {
    expect(await sentBy('query-status', '', '  ', '# text', 'blockdev-add file.driver=file')).toEqual([
      '{"execute": "query-status", "arguments": {}}',
      '{"execute": "blockdev-add", "arguments": {"file": {"driver": "file"}}}',
    ]);
  });

  it('sends JSON as it is', async () => {
    expect(await sentBy('{"execute": "query-status", "id": 7}')).toEqual(['{"execute": "query-status", "id": 7}']);
  });

  it('says what is wrong with JSON, and sends nothing', async () => {
    const { interpreter, transport } = shell();
    const { failure } = await interpreter.run('{"execute": }');
    expect(failure?.message).toBe('1:13: JSON parse error, expecting value');
    expect(transport.sent).toEqual([]);
  });

  it('sends human monitor commands as they are, where QMP has none or none of this form', async () => {
    expect(await sentBy('drive_del target0', 'qemu-io d "write 0 64k"', 'block_resize d 8M', 'info block')).toEqual([
      human('drive_del target0'),
      human('qemu-io d "write 0 64k"'),
      human('block_resize d 8M'),
      human('info block'),
    ]);
  });

  it('prefers QMP where both have the form', async () => {
    expect(await sentBy('stop', 'block_resize device=d size=8')).toEqual([
      '{"execute": "stop", "arguments": {}}',
      '{"execute": "block_resize", "arguments": {"device": "d", "size": 8}}',
    ]);
  });

  it('reports words without value in qmp-shell’s words', async () => {
    const { interpreter, transport } = shell();
    const { failure } = await interpreter.run('blockdev-add size');
    expect(failure?.message).toBe(
      "Error while parsing command line: Expected a key=value pair, got 'size'\ncommand format: <command-name> [arg-name1=arg1] ... [arg-nameN=argN",
    );
    expect(transport.sent).toEqual([]);
  });

  it('ends after quit in either monitor, and after exit without asking', async () => {
    const { interpreter, transport } = shell();
    expect((await interpreter.run('quit')).isEnd).toBe(true);
    expect((await interpreter.run('q')).isEnd).toBe(true);
    transport.sent.length = 0;
    expect((await interpreter.run('exit')).isEnd).toBe(true);
    expect(transport.sent).toEqual([]);
  });

  it('goes on when quit is refused', async () => {
    const { interpreter, transport } = shell();
    transport.answer = () => ({ error: { class: 'GenericError', desc: 'no' } });
    expect((await interpreter.run('quit')).isEnd).toBeUndefined();
  });
});

describe('transactions', () => {
  const abort = '{"execute": "transaction", "arguments": {"actions": [{"type": "abort", "data": {}}]}}';

  it.each([
    [['transaction( abort )']],
    [['transaction(abort)']],
    [['transaction(', 'abort', ')']],
    [['transaction( abort', ')']],
    [['transaction(', 'abort )']],
    [['transaction (', 'abort', ' ) ']],
  ])('%s', async (lines) => expect(await sentBy(...lines)).toEqual([abort]));

  it('collects several actions with their data', async () => {
    expect(await sentBy('transaction(', 'a x.y=1 x.z=f(2)', 'b', ')')).toEqual([
      '{"execute": "transaction", "arguments": {"actions": [{"type": "a", "data": {"x": {"y": 1, "z": "f(2)"}}}, {"type": "b", "data": {}}]}}',
    ]);
  });

  it('refuses what follows the end, and forgets nothing but the transaction', async () => {
    const { interpreter, transport } = shell();
    await interpreter.run('transaction(');
    const { failure } = await interpreter.run(') x');
    expect(failure?.message).toBe('Unexpected input after close of Transaction sub-shell');
    expect([interpreter.isInTransaction, transport.sent.length]).toEqual([false, 0]);
  });

  it('stays open after a mistake in an action', async () => {
    const { interpreter, sent } = shell();
    await interpreter.run('transaction(');
    expect((await interpreter.run('abort x')).failure?.message).toContain("Expected a key=value pair, got 'x'");
    expect(interpreter.isInTransaction).toBe(true);
    await interpreter.run('abort )');
    expect(sent()).toEqual([abort]);
  });

  it('is forgotten on Ctrl-C', async () => {
    const { interpreter, transport } = shell();
    await interpreter.run('transaction( abort');
    interpreter.cancel();
    await interpreter.run('query-status');
    expect(transport.sent).toHaveLength(1);
  });
});

describe('answers', () => {
  async function outcomeOf(reply: JsonObject, line: string, options: InterpreterOptions = {}): ReturnType<Interpreter['run']> {
    const { interpreter, transport } = shell(options);
    transport.answer = () => reply;
    return interpreter.run(line);
  }

  it('prints a reply as one line', async () => {
    expect((await outcomeOf({ return: { status: 'running', running: true } }, 'query-status')).output).toBe(
      '{"return": {"status": "running", "running": true}}\n',
    );
  });

  it('prints it over several lines in alphabetical order with -p', async () => {
    expect((await outcomeOf({ return: { status: 'running', running: true } }, 'query-status', { isPretty: true })).output).toBe(
      '{\n    "return": {\n        "running": true,\n        "status": "running"\n    }\n}\n',
    );
  });

  it('prints what is sent before it with -v', async () => {
    expect((await outcomeOf({ return: {} }, 'stop', { isVerbose: true })).output).toBe('{"execute": "stop", "arguments": {}}\n{"return": {}}\n');
  });

  it('keeps QEMU’s message and adds a hint beside it', async () => {
    const { output, failure } = await outcomeOf({ error: { class: 'GenericError', desc: 'NBD server not running' } }, 'stop');
    expect(output).toBe('{"error": {"class": "GenericError", "desc": "NBD server not running"}}\n');
    expect(failure).toMatchObject({ errorClass: 'GenericError', message: 'NBD server not running', isReply: true });
    expect(failure?.hint).toMatch(/^start it first: nbd-server-start/);
  });

  it.each([
    ["Error: Device 'x' not found\r\n", "Error: Device 'x' not found"],
    ["unknown command: 'x'\r\n", "unknown command: 'x'"],
    [
      'drive_del: extraneous characters\r\nTry "help drive_del" for more information\r\n',
      'drive_del: extraneous characters\nTry "help drive_del" for more information',
    ],
  ])('knows an error of the human monitor: %j', async (text, message) => {
    expect(await outcomeOf({ return: text }, 'drive_del x')).toMatchObject({ output: '', failure: { errorClass: 'GenericError', message, isReply: false } });
  });

  it('prints the text of the human monitor', async () => {
    expect(await outcomeOf({ return: 'No active jobs\r\n' }, 'info block-jobs')).toEqual({ output: 'No active jobs\n' });
  });

  it('tells class and text when the human monitor cannot be asked', async () => {
    const reply = { error: { class: 'CommandNotFound', desc: 'The command human-monitor-command has not been found' } };
    expect((await outcomeOf(reply, 'info block', { isHmp: true })).failure?.message).toBe(
      'CommandNotFound: The command human-monitor-command has not been found',
    );
  });

  it('tells that pictures of the inside need the machine here, and what to use instead', async () => {
    for (const line of ['map x', 'guest status', 'blockers']) {
      const { failure } = await outcomeOf({ return: {} }, line);
      expect([failure?.isReply, failure?.hint === undefined]).toEqual([false, false]);
    }
  });
});
