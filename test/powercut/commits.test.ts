import { committing, rebasing } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('commits', committing, 1800);
judgeAll('rebases', rebasing, 1200);
