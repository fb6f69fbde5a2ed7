/*
 * Starts a built program with the code that V8 compiled at an earlier run (code-cache.ts). The build puts this into
 * dist/NAME.cjs; it is all that is compiled anew at every start. Without a cache, or with TSIMG_NO_CACHE set, the program is
 * loaded as any other.
 */
import { readFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';
import { type CodeCache, engineKey, shippedCache, userCache, userFolder } from './code-cache.ts';

/** Starts program `name` of the folder `dist`; `programs` is the hash of what the build put there. */
export function launch(name: string, dist: string, programs: string): void {
  const main = join(dist, 'programs', `${name}.cjs`);
  const cache = process.env['TSIMG_NO_CACHE'] === undefined ? cacheFor(dist, programs) : undefined;
  if (cache === undefined) {
    nodeModule.createRequire(main)(main);
    return;
  }
  const loader = new Loader(cache, main);
  if (cache.keep !== undefined) process.on('exit', () => loader.keepCode());
  loader.load(main);
}

function cacheFor(dist: string, programs: string): CodeCache | undefined {
  const shipped = shippedCache(dist);
  if (shipped !== undefined) return shipped;
  const folder = userFolder(programs);
  if (folder === undefined) return undefined;
  // newer Nodes keep compiled code themselves
  if ('enableCompileCache' in nodeModule && typeof nodeModule.enableCompileCache === 'function') {
    nodeModule.enableCompileCache(folder);
    return undefined;
  }
  return userCache(folder);
}

export { engineKey };

interface Loaded {
  exports: unknown;
}

/**
 * Loads CommonJS files of ours that name each other by relative paths; everything else comes from Node's own `require`. They
 * have no `import()`: V8 does not keep what it belongs to.
 */
export class Loader {
  readonly #cache: CodeCache;
  readonly #outside: NodeJS.Require;
  readonly #modules = new Map<string, Loaded>();
  /** Compiled without a cache that V8 took. */
  readonly #compiled = new Map<string, Script>();

  /** `main`: the file on whose behalf packages are looked for. */
  constructor(cache: CodeCache, main: string) {
    this.#cache = cache;
    this.#outside = nodeModule.createRequire(main);
  }

  load(file: string): unknown {
    const known = this.#modules.get(file);
    if (known !== undefined) return known.exports;
    const module: Loaded = { exports: {} };
    this.#modules.set(file, module);
    const folder = dirname(file);
    const require = (name: string): unknown => (name.startsWith('.') ? this.load(join(folder, name)) : this.#outside(name));
    const run: unknown = this.#compile(file).runInThisContext();
    if (typeof run !== 'function') throw new Error(`${file} is no module`);
    run.call(module.exports, module.exports, require, module, file, folder);
    return module.exports;
  }

  /** Hands the code of what had to be compiled to the cache. */
  keepCode(): void {
    for (const [file, script] of this.#compiled) this.#cache.keep?.(file, script.createCachedData());
  }

  #compile(file: string): Script {
    const source = `(function (exports, require, module, __filename, __dirname) { ${readFileSync(file, 'utf8')}\n})`;
    const cachedData = this.#cache.find(file);
    const script = new Script(source, { filename: file, cachedData });
    if (cachedData === undefined || script.cachedDataRejected === true) this.#compiled.set(file, script);
    return script;
  }
}
