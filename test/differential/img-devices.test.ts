import { deviceCases } from './img-cases-devices.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('tsimg on devices and windows answers as qemu-img', deviceCases);
