import { measureCases } from './img-cases-measure.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg measure answers as qemu-img', measureCases);
