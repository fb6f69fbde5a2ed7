import { hmpScripts } from './hmp-cases.ts';
import { compareScripts, machine } from './qmp-suite.ts';

compareScripts('a machine and its human monitor', hmpScripts, machine);
