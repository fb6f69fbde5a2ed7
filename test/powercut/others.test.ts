import { others } from './scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('others', others, 13400);
