/*
 * Names of files are bytes; here they are strings, and nothing is lost: what is UTF-8 reads as text, and every other byte
 * becomes a lone surrogate (0x80 → U+DC80), which no UTF-8 text holds. Option trees, messages and headers carry such
 * strings; only the calls of the system and standard output see bytes. Rule source: Python's PEP 383.
 */
import { isUtf8 } from 'node:buffer';

const escapeBase = 0xdc00;

/** The string for a name's bytes. */
export function decodeName(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const piece = bytes.subarray(at, at + length);
    if (piece.length === length && isUtf8(piece)) {
      text += Buffer.from(piece).toString('utf8');
      at += length;
    } else {
      text += String.fromCharCode(escapeBase + lead);
      at++;
    }
  }
  return text;
}

/** True when the name is text: no byte of it had to be kept apart. */
export function isTextName(name: string): boolean {
  return name.isWellFormed();
}

/** The bytes of a name. Other lone surrogates than those of `decodeName` become U+FFFD, as Node writes them. */
export function encodeName(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name, 'utf8');
  const pieces: Buffer[] = [];
  let from = 0;
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at);
    // the second half of a pair is no escape
    if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(name.charCodeAt(at + 1))) at++;
    else if (unit >= escapeBase + 0x80 && unit <= escapeBase + 0xff) {
      pieces.push(Buffer.from(name.slice(from, at), 'utf8'), Buffer.of(unit - escapeBase));
      from = at + 1;
    }
  }
  pieces.push(Buffer.from(name.slice(from), 'utf8'));
  return Buffer.concat(pieces);
}

/** A name as the system's calls take it: text as it is, else its bytes. */
export function systemName(name: string): string | Buffer {
  return name.isWellFormed() ? name : encodeName(name);
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
