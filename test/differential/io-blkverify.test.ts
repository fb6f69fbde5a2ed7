/* blkverify below tsio beside that below the peer's qemu-io. */
import { blkverifyCases } from './io-cases-blkverify.ts';
import { compareIo } from './io-suite.ts';

compareIo('blkverify below tsio is that below qemu-io', blkverifyCases);
