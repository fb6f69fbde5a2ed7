import { amendCases } from './img-cases-amend.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg amend answers and writes as qemu-img', amendCases);
