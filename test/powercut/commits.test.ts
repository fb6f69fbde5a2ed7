import { committing, rebasing } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('commits', committing, 6000);
judgeAll('rebases', rebasing, 4000);
