/* Random histories of commands, played to the peer's storage daemon and to ours. */
import { qmpHistory } from './qmp-histories.ts';
import { compareScripts } from './qmp-suite.ts';

const histories = 60;
const commands = 30;

compareScripts(
  'random histories',
  Array.from({ length: histories }, (_, index) => qmpHistory(index + 1, commands)),
);
