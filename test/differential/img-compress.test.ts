import { compressCases } from './img-cases-compress.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg convert -c answers and writes as qemu-img', compressCases);
