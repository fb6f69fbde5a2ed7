/* Integer arithmetic up to 2^53 - 1. No bit operators here: they cut to 32 bits. */

/** `value` rounded down to a multiple of `align` (> 0). */
export function alignDown(value: number, align: number): number {
  return value - (value % align);
}

/** `value` rounded up to a multiple of `align` (> 0). */
export function alignUp(value: number, align: number): number {
  const rest = value % align;
  return rest === 0 ? value : value + (align - rest);
}

export function ceilDiv(value: number, by: number): number {
  return Math.ceil(value / by);
}

export function isPowerOfTwo(value: number): boolean {
  return value >= 1 && Number.isInteger(Math.log2(value)) && 2 ** Math.log2(value) === value;
}
