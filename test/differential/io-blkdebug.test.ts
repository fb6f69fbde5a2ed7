/* blkdebug below tsio beside that below the peer's qemu-io. */
import { blkdebugCases } from './io-cases-blkdebug.ts';
import { compareIo } from './io-suite.ts';

compareIo('blkdebug below tsio is that below qemu-io', blkdebugCases);
