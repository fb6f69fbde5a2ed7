import { snapshotCases } from './img-cases-snapshot.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg snapshot answers and writes as qemu-img', snapshotCases);
