import { bitmapScenarios } from './amend-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('bitmaps', bitmapScenarios, 8000);
