/*
 * Floating-point numbers as C's printf writes them: exact decimal expansion, ties to even (JavaScript's toFixed and
 * toExponential round ties up). Knows nothing of what the numbers mean. Rule source: ISO C, fprintf, conversions f and g.
 */

/** |value| × 10^power, rounded to an integer, ties to even. `value` is finite. */
function scaled(value: number, power: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const high = view.getUint32(0);
  const exponentBits = (high >>> 20) & 0x7ff;
  const fraction = BigInt(high & 0xfffff) * 4294967296n + BigInt(view.getUint32(4));
  const mantissa = exponentBits === 0 ? fraction : fraction + 4503599627370496n;
  const exponent = (exponentBits === 0 ? 1 : exponentBits) - 1075;
  let numerator = mantissa;
  let denominator = 1n;
  if (exponent >= 0) numerator *= 2n ** BigInt(exponent);
  else denominator *= 2n ** BigInt(-exponent);
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else denominator *= 10n ** BigInt(-power);
  const whole = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  const roundsUp = twice > denominator || (twice === denominator && whole % 2n === 1n);
  return roundsUp ? whole + 1n : whole;
}

function signOf(value: number): string {
  return value < 0 || Object.is(value, -0) ? '-' : '';
}

function notFinite(value: number): string {
  return Number.isNaN(value) ? 'nan' : `${signOf(value)}inf`;
}

/** `%.{digits}f`. */
export function formatFixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const text = scaled(value, digits)
    .toString()
    .padStart(digits + 1, '0');
  const point = text.length - digits;
  return `${signOf(value)}${text.slice(0, point)}${digits === 0 ? '' : `.${text.slice(point)}`}`;
}

/** `%.{precision}g`: `precision` significant digits, no trailing zeros, an exponent below 1e-4 and from 10^precision on. */
export function formatGeneral(value: number, precision: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const sign = signOf(value);
  if (value === 0) return `${sign}0`;
  let exponent = Number(Math.abs(value).toExponential(17).split('e')[1] ?? '0');
  let digits = scaled(value, precision - 1 - exponent).toString();
  if (digits.length > precision) {
    exponent++;
    digits = digits.slice(0, precision);
  }
  const significant = digits.replace(/0+$/, '');
  if (exponent < -4 || exponent >= precision) {
    const rest = significant.length > 1 ? `.${significant.slice(1)}` : '';
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${significant.slice(0, 1)}${rest}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${significant}`;
  const whole = significant.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  const rest = significant.slice(exponent + 1);
  return `${sign}${whole}${rest === '' ? '' : `.${rest}`}`;
}
