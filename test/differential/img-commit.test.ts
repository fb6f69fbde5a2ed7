import { commitCases } from './img-cases-commit.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg commit answers and writes as qemu-img', commitCases);
