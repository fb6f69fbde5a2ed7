import { benchCases } from './img-cases-bench.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg bench answers and writes as qemu-img', benchCases);
