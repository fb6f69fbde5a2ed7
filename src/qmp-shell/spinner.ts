/* A spinner on a terminal while something takes its time, nothing elsewhere. ora loads only when it is about to be seen. */

export interface SpinnerOptions {
  readonly isTerminal: boolean;
  /** By default standard error. */
  readonly stream?: NodeJS.WritableStream;
  /** What ends sooner shows nothing. */
  readonly delayMs?: number;
}

/** Waits for `work`; its result or error comes when the spinner is gone from the screen. */
export async function withSpinner<T>(text: string, work: Promise<T>, options: SpinnerOptions): Promise<T> {
  if (!options.isTerminal) return work;
  let hasEnded = false;
  let stop: (() => void) | undefined;
  const show = async (): Promise<void> => {
    const { default: ora } = await import('ora');
    if (hasEnded) return;
    // standard input stays the shell's
    const spinner = ora({ text, discardStdin: false, isEnabled: true, stream: options.stream ?? process.stderr }).start();
    stop = () => void spinner.stop();
  };
  const timer = setTimeout(() => void show(), options.delayMs ?? 300);
  try {
    return await work;
  } finally {
    hasEnded = true;
    clearTimeout(timer);
    stop?.();
  }
}
