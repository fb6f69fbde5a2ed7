import { writeCases } from './img-cases-write.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg create, convert and resize answer and write as qemu-img', writeCases);
