/*
 * The gate for what an image names itself: its backing file, its data file, and further files of its guest's data. Turns
 * such a name into the options of what it stands for, bounds how deep names lead to names, and asks the one policy whether
 * that may be opened. An image is written by its guest: nothing else turns a name from inside an image into options.
 */
import { BlockError } from '../util/errors.ts';
import type { Maybe } from '../util/maybe.ts';
import { exactFilename, mediumName } from './filename.ts';
import type { BlockNode } from './node.ts';
import {
  asTree,
  combineFilename,
  type FilenameContext,
  fileOptions,
  mergeOptions,
  type OptionTree,
  type OptionValue,
  optionsOfFilename,
  protocolOptions,
} from './options.ts';

/** What an image asks to have opened. */
export interface ImplicitOpen {
  readonly kind: 'backing' | 'data-file';
  /** The image that names it. */
  readonly image: string;
  /** The name and the format as recorded in the image. */
  readonly name: string;
  readonly format: string | undefined;
  /** What it stands for: the options that will be opened, with all nodes and files below. */
  readonly options: OptionTree;
}

/** False: it is not opened, and neither is the image that names it. */
export type OpenPolicy = (request: ImplicitOpen) => Maybe<boolean>;

/** As QEMU: an image may name what it likes. */
export const allowAll: OpenPolicy = () => true;

/**
 * Nodes of one opening after which no image names a further one: 500 images on top of each other, fewer where a name stands
 * for several nodes. Of a tree of such names counting its depth would not do. QEMU ends when it runs out of file descriptors.
 */
const maxNodes = 1000;

export interface RecordedName {
  readonly filename: string;
  /** Undefined: probed, which leaves the choice to whoever wrote the file named. */
  readonly format: string | undefined;
}

export class Gate {
  readonly #names: FilenameContext;
  readonly #policy: OpenPolicy;

  constructor(names: FilenameContext, policy: OpenPolicy) {
    this.#names = names;
    this.#policy = policy;
  }

  /** Options of the backing file that the image of `node` names; `given` ones of the user go before, `nodes` of the opening were begun before. */
  async backing(node: BlockNode, recorded: RecordedName, given: OptionTree, nodes: number): Promise<OptionTree> {
    if (nodes > maxNodes) throw new BlockError(`Backing chain has more than ${maxNodes} nodes`, { code: 'ELOOP' });
    // the user names another file: only the format is the image's
    if ('filename' in asTree(given['file'])) return { ...driverOf(recorded.format), ...given };
    const options = this.#backingOptions(node, recorded, given);
    await this.#check({ kind: 'backing', image: nameOf(node), name: recorded.filename, format: recorded.format, options });
    return options;
  }

  /** Options of the data file that the image of `node` names: a file of that very name, seen from where the program runs. */
  async dataFile(node: BlockNode, recorded: string): Promise<OptionTree> {
    const options = fileOptions(recorded, this.#names);
    await this.#check({ kind: 'data-file', image: nameOf(node), name: recorded, format: undefined, options });
    return options;
  }

  async #check(request: ImplicitOpen): Promise<void> {
    if (await this.#policy(request)) return;
    throw new BlockError(`Opening '${request.name}' is not allowed, which the image '${request.image}' names`, { code: 'EACCES' });
  }

  #backingOptions(node: BlockNode, { filename, format }: RecordedName, given: OptionTree): OptionTree {
    if (filename.startsWith('json:')) return mergeOptions({ ...optionsOfFilename(filename, this.#names).tree, ...driverOf(format) }, given);
    const base = mediumName(node);
    const full = combineFilename(typeof base === 'string' ? base : '', filename);
    const top: OptionTree = { ...driverOf(format), ...given };
    // the name goes down to the first protocol
    return this.#named(top, full, true);
  }

  #named(tree: OptionTree, full: string, isTop: boolean): OptionTree {
    const driver = tree['driver'];
    if (driver === undefined ? !isTop : this.#isProtocol(driver)) {
      if ('filename' in tree) throw new BlockError("Can't specify 'file' and 'filename' options at the same time", { code: 'EINVAL' });
      const protocol = typeof driver === 'string' ? protocolOptions(driver, full, this.#names) : optionsOfFilename(full, this.#names).tree;
      return { ...protocol, ...tree };
    }
    if (typeof tree['file'] === 'string') {
      throw new BlockError('Cannot reference an existing block device with additional options or a new filename', { code: 'EINVAL' });
    }
    return { ...tree, file: this.#named(asTree(tree['file']), full, false) };
  }

  #isProtocol(driver: OptionValue): boolean {
    return typeof driver === 'string' && this.#names.driver(driver)?.kind === 'protocol';
  }
}

function nameOf(node: BlockNode): string {
  // while it opens its file is there already
  return exactFilename(node) ?? (node.primary === undefined ? undefined : exactFilename(node.primary.node)) ?? node.name;
}

/** The header's format goes before one that its name carries, and not before the user's. */
function driverOf(format: string | undefined): OptionTree {
  return format === undefined ? {} : { driver: format };
}
