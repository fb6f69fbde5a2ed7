import { luksCases, luksFixture } from './img-cases-luks.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg answers on encrypted images as qemu-img', luksCases, luksFixture);
