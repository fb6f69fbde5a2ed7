import { snapshotScenarios } from './snapshot-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('snapshots', snapshotScenarios, 12000);
