import { usageCases } from './img-cases-usage.ts';
import { compareCommandLines } from './img-suite.ts';

compareCommandLines('arguments of tsimg are taken as qemu-img takes them', usageCases);
