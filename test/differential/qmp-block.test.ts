import { startedBackups } from './qmp-cases-backup.ts';
import { endedBackups } from './qmp-cases-backup-ends.ts';
import { bitmapScripts } from './qmp-cases-bitmaps.ts';
import { exportScripts, nodeScripts } from './qmp-cases-block.ts';
import { encryptedScripts } from './qmp-cases-encrypted.ts';
import { filterScripts } from './qmp-cases-filters.ts';
import { jobScripts } from './qmp-cases-jobs.ts';
import { jobOrderScripts } from './qmp-cases-orders.ts';
import { compareScripts } from './qmp-suite.ts';

compareScripts('nodes over QMP', nodeScripts);
compareScripts('encrypted nodes over QMP', encryptedScripts);
compareScripts('filters over QMP', filterScripts);
compareScripts('exports over QMP', exportScripts);
compareScripts('jobs over QMP', jobScripts);
compareScripts('backups over QMP', [...startedBackups, ...endedBackups]);
compareScripts('dirty bitmaps over QMP', bitmapScripts);
compareScripts('orders around jobs over QMP', jobOrderScripts);
