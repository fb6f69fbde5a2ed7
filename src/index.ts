/// <reference lib="esnext.disposable" preserve="true" />
/*
 * The public library: disk images, block graphs and NBD exports for Node programs. The one barrel; nothing inside imports it.
 * Sizes and offsets are bytes; errors are BlockError.
 */
export { BlockBackend, readerPerms, resizerPerms, writerPerms } from './core/block/backend.ts';
export { type BlockStatus, type CreateValues, reqFlag } from './core/block/driver.ts';
export type { ImplicitOpen, OpenPolicy } from './core/block/gate.ts';
export type { BlockNode } from './core/block/node.ts';
export { localStorage } from './core/storage/local-open.ts';
export { MemoryStorage } from './core/storage/memory.ts';
export type { OpenStorage, Storage } from './core/storage/storage.ts';
export { BlockError } from './core/util/errors.ts';
export { isPending, type Maybe } from './core/util/maybe.ts';
export { createImage } from './engine/create.ts';
export { Engine, type EngineOptions, type OpenBackendOptions } from './engine/engine.ts';
export { NbdExport } from './nbd/export.ts';
export { NbdServer } from './nbd/server.ts';
