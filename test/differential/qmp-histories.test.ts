/* Random histories of commands: to the peer's storage daemon and to ours, and to its machine and to ours. */
import { qmpHistory } from './qmp-histories.ts';
import { compareScripts, machine } from './qmp-suite.ts';

const commands = 30;
const seeds = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);

compareScripts(
  'random histories of a storage daemon',
  seeds(30).map((seed) => qmpHistory(seed, commands)),
);
compareScripts(
  'random histories of a machine',
  seeds(25).map((seed) => qmpHistory(seed, commands, true)),
  machine,
);
