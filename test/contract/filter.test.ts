/* The filters that keep the contract of filter.suite.ts. */
import { perm } from '../../src/core/util/perm-bits.ts';
import { filterSuite } from './filter.suite.ts';

filterSuite({ driver: 'raw', options: {}, followsSize: true });
filterSuite({ driver: 'copy-on-read', options: {}, followsSize: true, idlePerm: perm.writeUnchanged });
filterSuite({ driver: 'throttle', options: { 'throttle-group': 'g' }, followsSize: true });
filterSuite({ driver: 'preallocate', options: {}, followsSize: true });
filterSuite({ driver: 'copy-before-write', options: { target: 'other' }, followsSize: false });
