import { amendScenarios } from './amend-scenarios.ts';
import { judgeAll } from './suite.ts';

judgeAll('amends', amendScenarios, 12000);
