import { repairs } from './repair-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('repairs', repairs, 14000);
