/* blklogwrites below tsio beside that below the peer's qemu-io. */
import { blklogwritesCases } from './io-cases-blklogwrites.ts';
import { compareIo } from './io-suite.ts';

compareIo('blklogwrites below tsio is that below qemu-io', blklogwritesCases);
