import { ddCases } from './img-cases-dd.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg dd answers and writes as qemu-img', ddCases);
