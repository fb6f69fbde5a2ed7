import { damageCases } from './img-cases-damage.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg tells and repairs damage as qemu-img', damageCases);
