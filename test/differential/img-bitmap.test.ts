import { bitmapCases } from './img-cases-bitmap.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg bitmap and convert --bitmaps answer and write as qemu-img', bitmapCases);
