/*
 * Options of LUKS as images take them, for creation and for amend: tables only, so that looking at them loads no cipher. Names
 * of formats that hold a LUKS volume inside begin with a prefix (`encrypt.`). The texts are part of the tools' output.
 */
import type { CreateOption } from '../core/block/driver.ts';

/** Before the names of options of formats that hold a volume inside. */
export const encryptPrefix = 'encrypt.';

/** Ciphers and times of new volumes. */
export function luksCreateOptions(prefix: string): readonly CreateOption[] {
  return [
    { name: `${prefix}cipher-alg`, type: 'string', help: 'Name of encryption cipher algorithm' },
    { name: `${prefix}cipher-mode`, type: 'string', help: 'Name of encryption cipher mode' },
    { name: `${prefix}ivgen-alg`, type: 'string', help: 'Name of IV generator algorithm' },
    { name: `${prefix}ivgen-hash-alg`, type: 'string', help: 'Name of IV generator hash algorithm' },
    { name: `${prefix}hash-alg`, type: 'string', help: 'Name of encryption hash algorithm' },
    { name: `${prefix}iter-time`, type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  ];
}

export function luksAmendOptions(prefix: string): readonly CreateOption[] {
  return [
    { name: `${prefix}state`, type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
    { name: `${prefix}keyslot`, type: 'number', help: 'Select a single keyslot to modify explicitly' },
    { name: `${prefix}old-secret`, type: 'string', help: 'Select all keyslots that match this password' },
    { name: `${prefix}new-secret`, type: 'string', help: 'New secret to set in the matching keyslots. Empty string to erase' },
    { name: `${prefix}iter-time`, type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  ];
}
