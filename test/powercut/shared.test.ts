import { shared } from './repair-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('snapshots and data files', shared, 9000);
