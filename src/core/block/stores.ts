/*
 * What an image keeps beside the disk as it is: dirty bitmaps that outlive their node, and snapshots. Facets of the driver
 * contract, only where a driver has them.
 */

/** Where a driver keeps dirty bitmaps of its node over its end. */
export interface BitmapStore {
  /** false: this image cannot keep any, whatever they are like. */
  readonly isSupported: boolean;
  /** Throws, in the peer's words, when one like this could not be kept. */
  check(name: string, granularity: number): void;
  /** Takes it from the medium; nothing when it is not there. */
  remove(name: string): Promise<void>;
  /** Writes everything out as a close does, and keeps the node for reading. False, and told, when bitmaps are lost. */
  store(): Promise<boolean>;
}

export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  readonly vmStateSize: number;
  readonly dateSec: number;
  readonly dateNsec: number;
  readonly vmClockNsec: bigint;
  readonly icount: bigint | undefined;
}

/** What a snapshot that is to be made says of itself. */
export type SnapshotDetails = Omit<SnapshotInfo, 'id'>;

/** Snapshots inside an image. A snapshot is told by what `snapshots()` lists. Called drained; the node is not published anew. */
export interface SnapshotStore {
  /** false: this image can neither make nor apply any. */
  readonly isSupported: boolean;
  /** Keeps the disk as it is now under the next free ID. Rejects with ENOTSUP where the image cannot. */
  create(details: SnapshotDetails): Promise<void>;
  /** Makes the disk what it was then, its size too. */
  apply(snapshot: SnapshotInfo): Promise<void>;
  remove(snapshot: SnapshotInfo): Promise<void>;
  /** Shows the disk as it was then, with the size that it has now, until the node closes. For nodes that are read only. */
  show(snapshot: SnapshotInfo): Promise<void>;
}
