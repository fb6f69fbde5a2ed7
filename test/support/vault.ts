/* A LUKS image that opens at once, and the secret behind its passphrase. */
import type { CreateValues } from '../../src/core/block/driver.ts';
import type { OptionTree } from '../../src/core/block/options.ts';
import { createImage } from '../../src/engine/create.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { ObjectDefinition } from '../../src/engine/object-types.ts';
import { addObject } from '../../src/engine/ops/objects.ts';

/** Id of the secret that opens what `makeVault` makes. */
export const vaultSecret = 'vault-secret';

export function addSecret(engine: Engine, id: string, data: string): void {
  addObject(engine.objects, { 'qom-type': 'secret', id, data } as ObjectDefinition);
}

/** Makes a LUKS image with as few rounds as there may be, and the secret where the engine has none; the options that open it. */
export async function makeVault(engine: Engine, filename: string, values: CreateValues): Promise<OptionTree> {
  if (!engine.objects.has('secret', vaultSecret)) addSecret(engine, vaultSecret, 'open sesame');
  await createImage(engine, 'luks', filename, { 'iter-time': 0, 'key-secret': vaultSecret, ...values });
  return { driver: 'luks', 'key-secret': vaultSecret, file: { driver: 'file', filename } };
}
