import { committing } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('commits', committing, 1800);
