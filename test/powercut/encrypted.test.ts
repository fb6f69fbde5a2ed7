import { encrypted } from './encrypted-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('encrypted images', encrypted, 2600);
