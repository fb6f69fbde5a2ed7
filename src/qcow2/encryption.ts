/*
 * Encryption of an image: the volume whose header lies in clusters of the image, the older AES method, and what opening,
 * `info`, `amend` and creation ask of them. Loaded for encrypted images only.
 * Rule source: qcow2 specification, encryption and its header extension; observed behaviour of QEMU 11.1.
 */
import type { Child } from '../core/block/child.ts';
import type { CreateHost, CreateValues, NodeHost } from '../core/block/driver.ts';
import { passphrase } from '../core/objects/secret.ts';
import { BlockError, invariant } from '../core/util/errors.ts';
import { alignUp } from '../core/util/math.ts';
import { cipherAlgs } from '../crypto/algorithms.ts';
import { changeSlots } from '../crypto/key-slots.ts';
import { describeLuks } from '../crypto/luks-info.ts';
import { encryptPrefix } from '../crypto/luks-options.ts';
import { readLuksCreation, readSlotChange, secretRequired } from '../crypto/luks-values.ts';
import { type LuksMedium, LuksVolume, type NewLuks, newLuks } from '../crypto/luks-volume.ts';
import { SectorCipher } from '../crypto/sector-cipher.ts';
import type { DataArea } from './data-area.ts';
import { EncryptedArea } from './encrypted-area.ts';
import type { Header } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { cryptMethod } from './layout.ts';
import { allocateClusters, freeClusters } from './refcounts.ts';
import { type Steps, wait } from './steps.ts';

const aesKeyBytes = 16;

/** Encryption of an image that is open. */
export class Encryption {
  readonly #host: NodeHost;
  readonly #keySecret: string | undefined;
  readonly #volume: LuksVolume | undefined;
  /** Undefined where the image is only looked at. */
  readonly #cipher: SectorCipher | undefined;

  constructor(host: NodeHost, parts: { keySecret: string | undefined; volume: LuksVolume | undefined; cipher: SectorCipher | undefined }) {
    this.#host = host;
    this.#keySecret = parts.keySecret;
    this.#volume = parts.volume;
    this.#cipher = parts.cipher;
  }

  /** Guest data in `child`; undefined where they cannot be read. */
  area(child: Child): DataArea | undefined {
    return this.#cipher === undefined ? undefined : new EncryptedArea(child, this.#cipher, this.#volume !== undefined);
  }

  /** QAPI's ImageInfoSpecificQCow2Encryption. */
  describe(): Readonly<Record<string, unknown>> {
    return this.#volume === undefined ? { format: 'aes' } : { format: 'luks', ...describeLuks(this.#volume, false) };
  }

  /** Changes key slots as `values` (with their prefix) ask. */
  async amend(values: CreateValues, how: { readonly force: boolean }): Promise<void> {
    if (this.#volume === undefined) throw new BlockError('Only LUKS encryption options can be amended for qcow2 with blockdev-amend', { code: 'ENOTSUP' });
    const change = readSlotChange(values, encryptPrefix);
    if (this.#keySecret === undefined) throw secretRequired(encryptPrefix);
    const { objects, clock } = this.#host;
    await changeSlots(this.#volume, change, {
      ...how,
      clock,
      password: passphrase(objects, this.#keySecret),
      secret: (id) => passphrase(objects, id),
    });
  }
}

/** The encryption of the image behind `header`, unlocked unless the image is only looked at. Takes the options. */
export async function openEncryption(host: NodeHost, header: Header, file: Child): Promise<Encryption> {
  const isLuks = header.cryptMethod === cryptMethod.luks;
  if (isLuks && header.crypto === undefined) throw new BlockError('Missing CRYPTO header for crypt method 2', { code: 'ERR_FORMAT' });
  const keySecret = host.options.string('encrypt.key-secret');
  const format = host.options.string('encrypt.format');
  const recorded = isLuks ? 'luks' : 'aes';
  if (format !== undefined && format !== recorded)
    throw new BlockError(`Header reported '${recorded}' encryption format but options specify '${format}'`, { code: 'EINVAL' });
  const { noIo } = host.node.settings;
  if (!noIo && keySecret === undefined) throw secretRequired(encryptPrefix);
  const password = noIo || keySecret === undefined ? undefined : passphrase(host.objects, keySecret);
  if (header.crypto === undefined)
    return new Encryption(host, { keySecret, volume: undefined, cipher: password === undefined ? undefined : aesCipher(password) });
  const volume = await LuksVolume.open(mediumOf(file, header.crypto), false);
  const cipher = password === undefined ? undefined : volume.cipher(await volume.unlock(password));
  return new Encryption(host, { keySecret, volume, cipher });
}

/** The clusters that the header extension names, as a volume's medium. */
function mediumOf(file: Child, { offset: start, length }: { readonly offset: number; readonly length: number }): LuksMedium {
  const check = (offset: number, bytes: Uint8Array): void => {
    if (offset + bytes.length > length) throw new BlockError('Request for data outside of extension header', { code: 'EINVAL' });
  };
  return {
    read: (offset, into) => {
      check(offset, into);
      return file.read(start + offset, into);
    },
    write: (offset, from) => {
      check(offset, from);
      return file.write(start + offset, from);
    },
    flush: () => file.flush(),
  };
}

/** The first 16 bytes of the passphrase are the key, as they are. */
function aesCipher(password: Uint8Array): SectorCipher {
  const key = new Uint8Array(aesKeyBytes);
  key.set(password.subarray(0, aesKeyBytes));
  const alg = cipherAlgs.find(({ name }) => name === 'aes-128');
  invariant(alg !== undefined, 'AES is in the list');
  return new SectorCipher({ alg, mode: 'cbc', ivgen: 'plain64', ivHash: undefined }, key);
}

/** A new image's encryption: for the header at once, for its clusters once they have a place. */
export interface NewEncryption {
  readonly method: number;
  readonly luks: NewLuks | undefined;
}

/** Makes keys for a new image. Throws for secrets that are missing and ciphers that are not there. */
export async function newEncryption(host: CreateHost, format: 'aes' | 'luks', values: CreateValues): Promise<NewEncryption> {
  if (format === 'aes') {
    const secret = values['encrypt.key-secret'];
    if (secret === undefined) throw secretRequired(encryptPrefix);
    passphrase(host.objects, String(secret));
    return { method: cryptMethod.aes, luks: undefined };
  }
  const { spec, iterTime, keySecret } = readLuksCreation(values, encryptPrefix);
  if (keySecret === undefined) throw secretRequired(encryptPrefix);
  const luks = await newLuks(spec, passphrase(host.objects, keySecret), { iterTime, isDetached: false, clock: host.clock });
  return { method: cryptMethod.luks, luks };
}

/** Gives an image without guest data its encryption: clusters and what they hold are durable before the header names them. */
export function* setUpEncryption(image: Qcow2Image, { method, luks }: NewEncryption): Steps<void> {
  if (luks === undefined) return yield* image.updateHeader({ cryptMethod: method });
  const length = alignUp(luks.length, image.geometry.clusterSize);
  const offset = yield* allocateClusters(image, length);
  try {
    yield* image.refcountCache.flush();
    image.checkOverlap(offset, length, 0);
    yield* wait(image.file.zero(offset, length));
    yield* wait(image.writeFile(offset + luks.materialOffset, luks.material));
    yield* wait(image.writeFile(offset, luks.header));
    yield* wait(image.flushMedium());
  } catch (error) {
    yield* freeClusters(image, offset, length, 'never');
    throw error;
  }
  yield* image.updateHeader({ cryptMethod: method, crypto: { offset, length: luks.length } });
}
