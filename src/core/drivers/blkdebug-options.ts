/* Options of the driver `blkdebug`. Rule source: QAPI's BlockdevOptionsBlkdebug. */
import { debugEvents, debugIoTypes } from '../block/debug-events.ts';
import type { DriverOptionTable, EnumType, OptionType } from '../block/driver-options.ts';
import { permQapiNames } from '../util/perm-bits.ts';

const event: EnumType = { enum: 'BlkdebugEvent', values: debugEvents };
const permission: OptionType = { enum: 'BlockPermission', values: permQapiNames };

const injectError: OptionType = {
  struct: 'BlkdebugInjectErrorOptions',
  members: [
    { name: 'event', type: event, isRequired: true, help: 'what has to happen before' },
    { name: 'state', type: 'int', help: 'only in this state' },
    { name: 'iotype', type: { enum: 'BlkdebugIOType', values: debugIoTypes }, help: 'the kind of request that fails' },
    { name: 'errno', type: 'int', help: 'number of the error; 5 by default' },
    { name: 'delay-ns', type: 'int', help: 'nanoseconds before the request fails' },
    { name: 'sector', type: 'int', help: 'the request must touch this sector' },
    { name: 'once', type: 'bool', help: 'one request only' },
    { name: 'immediately', type: 'bool', help: 'before anybody else has a turn' },
  ],
};

const setState: OptionType = {
  struct: 'BlkdebugSetStateOptions',
  members: [
    { name: 'event', type: event, isRequired: true, help: 'what has to happen before' },
    { name: 'state', type: 'int', help: 'only in this state' },
    { name: 'new_state', type: 'int', isRequired: true, help: 'the state from then on' },
  ],
};

export const blkdebugOptions: DriverOptionTable = {
  type: 'BlockdevOptionsBlkdebug',
  base: 'protocol',
  own: [
    { name: 'image', type: 'node', isRequired: true, help: 'the node below' },
    { name: 'config', type: 'string', isStrong: true, help: 'file with rules' },
    { name: 'align', type: 'int', help: 'requests are aligned to it' },
    { name: 'max-transfer', type: 'int', help: 'largest request' },
    { name: 'opt-write-zero', type: 'int', help: 'alignment of zero writes' },
    { name: 'max-write-zero', type: 'int', help: 'largest zero write' },
    { name: 'opt-discard', type: 'int', help: 'alignment of discards' },
    { name: 'max-discard', type: 'int', help: 'largest discard' },
    { name: 'inject-error', type: { list: injectError }, isStrong: true, help: 'rules by which requests fail' },
    { name: 'set-state', type: { list: setState }, isStrong: true, help: 'rules by which the state changes' },
    { name: 'take-child-perms', type: { list: permission }, help: 'permissions to take on the node below' },
    { name: 'unshare-child-perms', type: { list: permission }, help: 'permissions to deny others there' },
  ],
};
