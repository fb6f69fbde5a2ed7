/* Throttle groups by name, with limits as QAPI names them. */
import type { Engine } from '../../src/engine/engine.ts';
import type { ObjectDefinition } from '../../src/engine/object-types.ts';
import { addObject } from '../../src/engine/ops/objects.ts';

export function addThrottleGroup(engine: Engine, id: string, limits: Readonly<Record<string, number>> = {}): void {
  addObject(engine.objects, { 'qom-type': 'throttle-group', id, limits } as ObjectDefinition);
}
