/* What programs say when an image that will be written was taken for raw because its content looked like nothing else. */

const margin = ' '.repeat('WARNING: '.length);

/** Lines for standard error, with the last line end. */
export function rawWarning(filename: string): string {
  return (
    `WARNING: Image format was not specified for '${filename}' and probing guessed raw.\n` +
    `${margin}Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n` +
    `${margin}Specify the 'raw' format explicitly to remove the restrictions.\n`
  );
}
