import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { withSpinner } from '../../src/qmp-shell/spinner.ts';

/** A terminal that collects what is written to it, and tells when something is. */
function terminal(): { stream: PassThrough; text: () => string; written: Promise<void> } {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 80, cursorTo: () => true, clearLine: () => true, moveCursor: () => true });
  let text = '';
  const written = new Promise<void>((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('waiting for the server')) resolve();
    });
  });
  return { stream, text: () => text, written };
}

describe('spinner', () => {
  it('shows its text on a terminal until the work is done', async () => {
    const { stream, text, written } = terminal();
    const result = await withSpinner(
      'waiting for the server',
      written.then(() => 42),
      { isTerminal: true, stream, delayMs: 0 },
    );
    expect(result).toBe(42);
    expect(text()).toContain('waiting for the server');
  });

  it('shows nothing where there is no terminal, or when the work ends at once', async () => {
    const { stream, text } = terminal();
    expect(await withSpinner('waiting for the server', Promise.resolve(1), { isTerminal: false, stream, delayMs: 0 })).toBe(1);
    expect(await withSpinner('waiting for the server', Promise.resolve(2), { isTerminal: true, stream })).toBe(2);
    expect(text()).toBe('');
  });

  it('passes an error on', async () => {
    const { stream } = terminal();
    await expect(withSpinner('x', Promise.reject(new Error('no server')), { isTerminal: true, stream })).rejects.toThrow('no server');
  });
});
