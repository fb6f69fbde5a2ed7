/* Quorums below tsio beside those below the peer's qemu-io. */
import { quorumCases } from './io-cases-quorum.ts';
import { compareIo } from './io-suite.ts';

compareIo('quorums below tsio are those below qemu-io', quorumCases);
