import { numberScripts } from './qmp-cases-numbers.ts';
import { wireScripts } from './qmp-cases-wire.ts';
import { compareScripts } from './qmp-suite.ts';

compareScripts('QMP on the wire', [...wireScripts, ...numberScripts]);
