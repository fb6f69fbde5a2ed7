/* What a backup with sync=none is for: a frozen view needs a target that reads through the source. Says so when it does not. */
import { chainNodes } from '../core/block/chain.ts';
import { isJsonObject, type Json } from '../core/util/json.ts';
import type { Engine } from '../engine/engine.ts';

/** The hint after a command that went well: one for each such backup that it started. */
export function fleecingHint(engine: Engine, command: string, args: Json | undefined): string | undefined {
  if (args === undefined || !isJsonObject(args)) return undefined;
  if (command === 'blockdev-backup') return targetHint(engine, args);
  if (command !== 'transaction' || !Array.isArray(args['actions'])) return undefined;
  for (const action of args['actions']) {
    if (!isJsonObject(action) || action['type'] !== 'blockdev-backup') continue;
    const hint = targetHint(engine, action['data']);
    if (hint !== undefined) return hint;
  }
  return undefined;
}

function targetHint(engine: Engine, args: Json | undefined): string | undefined {
  if (args === undefined || !isJsonObject(args) || args['sync'] !== 'none') return undefined;
  const [device, target] = [String(args['device']), String(args['target'])];
  const source = engine.graph.findDeviceOrNode(device);
  const top = engine.graph.findDeviceOrNode(target);
  if (source === undefined || top === undefined) return undefined;
  // the backup's own filter stands above the source by now: what lies below both is the source itself
  const below = new Set(chainNodes(source));
  if (chainNodes(top).some((node, index) => index > 0 && below.has(node))) return undefined;
  return (
    `'${target}' does not read through '${device}': it gets what is overwritten, and shows zeros elsewhere; ` +
    `for a frozen view add it with backing=${device}`
  );
}
