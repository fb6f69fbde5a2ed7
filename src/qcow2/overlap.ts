/*
 * Which host clusters hold metadata, so that no write of ours can land on them: the last line of defence against a corrupt
 * image. A map from cluster number to structure kinds, kept up to date by whoever allocates or frees a structure.
 * Rule source: the peer's documented overlap checks (option overlap-check).
 */
export const structure = {
  header: 1,
  activeL1: 2,
  activeL2: 4,
  refcountTable: 8,
  refcountBlock: 16,
  snapshotTable: 32,
  inactiveL1: 64,
  inactiveL2: 128,
  bitmapDirectory: 256,
} as const;
export type StructureBits = number;

const names: readonly string[] = [
  'qcow2_header',
  'active L1 table',
  'active L2 table',
  'refcount table',
  'refcount block',
  'snapshot table',
  'inactive L1 table',
  'inactive L2 table',
  'bitmap directory',
];

/** Option names in the order of the bits. */
export const structureOptions: readonly string[] = [
  'main-header',
  'active-l1',
  'active-l2',
  'refcount-table',
  'refcount-block',
  'snapshot-table',
  'inactive-l1',
  'inactive-l2',
  'bitmap-directory',
];

const constantChecks = structure.header | structure.activeL1 | structure.refcountTable | structure.snapshotTable | structure.bitmapDirectory;
const cachedChecks = constantChecks | structure.activeL2 | structure.refcountBlock | structure.inactiveL1;
export const overlapTemplates: Readonly<Record<string, StructureBits>> = {
  none: 0,
  constant: constantChecks,
  cached: cachedChecks,
  all: cachedChecks | structure.inactiveL2,
};

export class MetadataMap {
  readonly #clusterSize: number;
  readonly #kinds = new Map<number, StructureBits>();
  /** Kinds that are looked at. */
  enabled: StructureBits = cachedChecks;

  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize;
  }

  add(offset: number, length: number, kind: StructureBits): void {
    const end = Math.ceil((offset + length) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster++) this.#kinds.set(cluster, (this.#kinds.get(cluster) ?? 0) | kind);
  }

  remove(offset: number, length: number, kind: StructureBits): void {
    const end = Math.ceil((offset + length) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster++) {
      const rest = (this.#kinds.get(cluster) ?? 0) & ~kind;
      if (rest === 0) this.#kinds.delete(cluster);
      else this.#kinds.set(cluster, rest);
    }
  }

  /** Name of the structure that [offset, offset + length) overlaps, apart from `ignored` kinds. */
  find(offset: number, length: number, ignored: StructureBits): string | undefined {
    const end = Math.ceil((offset + length) / this.#clusterSize);
    const mask = this.enabled & ~ignored;
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster++) {
      const kinds = this.#kinds.get(cluster);
      if (kinds === undefined) continue;
      const hit = kinds & mask;
      if (hit !== 0) return names[31 - Math.clz32(hit & -hit)];
    }
    return undefined;
  }
}
