import { backupScripts } from './qmp-cases-backup.ts';
import { exportScripts, jobScripts, nodeScripts } from './qmp-cases-block.ts';
import { compareScripts } from './qmp-suite.ts';

compareScripts('nodes over QMP', nodeScripts);
compareScripts('exports over QMP', exportScripts);
compareScripts('jobs over QMP', jobScripts);
compareScripts('backups over QMP', backupScripts);
