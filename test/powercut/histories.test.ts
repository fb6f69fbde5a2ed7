import { histories } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('histories', histories, 9000);
