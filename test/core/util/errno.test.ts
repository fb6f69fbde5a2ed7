import { describe, expect, it } from 'vitest';
import { errnoCode, errnoName, errnoNumber, errnoText } from '../../../src/core/util/errno.ts';

describe('errno', () => {
  it('has the C library texts', () => {
    expect(errnoText('ENOENT')).toBe('No such file or directory');
    expect(errnoText('ENOSPC')).toBe('No space left on device');
    expect(errnoText('EOPNOTSUPP')).toBe('Operation not supported');
    expect(errnoText('ENOTSUP')).toBe('Operation not supported');
    expect(errnoText(-5)).toBe('Input/output error');
    expect(errnoText(4095)).toBe('Unknown error 4095');
  });

  it('reads the code of a Node error, and falls back to its message', () => {
    const error = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    expect(errnoText(error)).toBe('No space left on device');
    expect(errnoCode(error)).toBe('ENOSPC');
    const other = Object.assign(new Error('odd'), { code: 'ERR_ODD' });
    expect(errnoText(other)).toBe('odd');
    expect(errnoCode(other)).toBeUndefined();
    expect(errnoCode(undefined)).toBeUndefined();
  });

  it('maps names and numbers both ways', () => {
    expect(errnoNumber('EAGAIN')).toBe(11);
    expect(errnoNumber('EWOULDBLOCK')).toBe(11);
    expect(errnoName(28)).toBe('ENOSPC');
    expect(errnoName(-28)).toBe('ENOSPC');
    expect(errnoNumber('toString')).toBeUndefined();
  });
});
