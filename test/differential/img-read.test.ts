import { readCases } from './img-cases-read.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg info, check, map, compare and snapshot -l answer as qemu-img', readCases);
