import { resizes } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('resizes', resizes, 10000);
