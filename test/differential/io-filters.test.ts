/* Filters below tsio beside those below the peer's qemu-io. */
import { filterCases } from './io-cases-filters.ts';
import { compareIo } from './io-suite.ts';

compareIo('filters below tsio are those below qemu-io', filterCases);
