import { rebaseCases } from './img-cases-rebase.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg rebase answers and writes as qemu-img', rebaseCases);
