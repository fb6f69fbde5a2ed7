/* What `info` tells of a LUKS volume. Rule source: QAPI QCryptoBlockInfoLUKS. */
import { stripesOfSlot } from './luks-header.ts';
import type { LuksVolume } from './luks-volume.ts';
import { cryptoSector } from './sector-size.ts';

/** QAPI's QCryptoBlockInfoLUKS. */
export function describeLuks({ header, spec, payloadOffset }: LuksVolume, isDetached: boolean): Readonly<Record<string, unknown>> {
  return {
    'cipher-alg': spec.alg.name,
    'cipher-mode': spec.mode,
    'ivgen-alg': spec.ivgen,
    ...(spec.ivgen === 'essiv' && spec.ivHash !== undefined ? { 'ivgen-hash-alg': spec.ivHash } : {}),
    'hash-alg': spec.hash,
    'detached-header': isDetached,
    'payload-offset': payloadOffset,
    'master-key-iters': header.digestIterations,
    uuid: header.uuid,
    slots: header.slots.map(({ isActive, iterations, keyOffset }) => ({
      active: isActive,
      ...(isActive ? { iters: iterations, stripes: stripesOfSlot } : {}),
      'key-offset': keyOffset * cryptoSector,
    })),
  };
}
