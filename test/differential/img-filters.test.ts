import { filterCases } from './img-cases-filters.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg over filters answers and writes as qemu-img', filterCases);
