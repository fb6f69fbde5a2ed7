/*
 * `graph`: the block graph as a tree: users at the root (devices, exports, jobs), below each the nodes that it reaches.
 * Asks by QMP only, so it draws any server's graph. Text only, no terminal.
 */
import { BlockError } from '../core/util/errors.ts';
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';
import { type Painter, plainPainter } from './render.ts';
import type { Transport } from './transport.ts';

export interface GraphViewOptions {
  /** Show what each edge needs and shares. */
  readonly isVerbose: boolean;
  readonly painter?: Painter | undefined;
}

interface Edge {
  readonly parent: Json;
  readonly child: Json;
  readonly name: string;
  readonly needs: string;
  readonly shares: string;
}

export async function graphView(transport: Transport, options: GraphViewOptions): Promise<string> {
  const picture = new GraphPicture(await readFacts(transport), options);
  return picture.draw();
}

interface Facts {
  readonly nodes: readonly JsonObject[];
  readonly edges: readonly Edge[];
  /** By node name. */
  readonly infos: ReadonlyMap<string, JsonObject>;
  readonly exports: readonly JsonObject[];
  readonly jobs: readonly JsonObject[];
  readonly devices: readonly JsonObject[];
}

async function readFacts(transport: Transport): Promise<Facts> {
  const reply = await transport.execute({ execute: 'x-debug-query-block-graph' });
  const graph = reply['return'];
  if (!isJsonObject(graph)) {
    const error = reply['error'];
    throw new BlockError(isJsonObject(error) ? String(error['desc']) : 'The server does not tell its block graph', { code: 'ERR_OPTION' });
  }
  const list = async (command: string, args: JsonObject = {}): Promise<JsonObject[]> =>
    // a storage daemon has no devices, an old server may lack a query: the picture is drawn without them
    objects((await transport.execute({ execute: command, arguments: args }))['return']);
  const infos = await list('query-named-block-nodes', { flat: true });
  return {
    nodes: objects(graph['nodes']),
    edges: objects(graph['edges']).map((edge) => ({
      parent: edge['parent'] ?? null,
      child: edge['child'] ?? null,
      name: text(edge['name']),
      needs: permText(edge['perm']),
      shares: permText(edge['shared-perm']),
    })),
    infos: new Map(infos.map((info) => [text(info['node-name']), info])),
    exports: await list('query-block-exports'),
    jobs: await list('query-block-jobs'),
    devices: await list('query-block'),
  };
}

class GraphPicture {
  readonly #facts: Facts;
  readonly #isVerbose: boolean;
  readonly #painter: Painter;
  readonly #byId: ReadonlyMap<Json, JsonObject>;
  readonly #users = new Map<Json, string>();
  readonly #shown = new Set<Json>();
  readonly #lines: string[] = [];

  constructor(facts: Facts, options: GraphViewOptions) {
    this.#facts = facts;
    this.#isVerbose = options.isVerbose;
    this.#painter = options.painter ?? plainPainter;
    this.#byId = new Map(facts.nodes.map((node) => [node['id'] ?? null, node]));
    this.#nameUsers();
  }

  draw(): string {
    const { nodes, edges } = this.#facts;
    const used = new Set(edges.map((edge) => edge.child));
    const isUser = (node: JsonObject): boolean => node['type'] !== 'block-driver';
    // devices and exports first, then jobs, then nodes that nobody uses yet
    const roots = [
      ...nodes.filter((node) => node['type'] === 'block-backend'),
      ...nodes.filter((node) => isUser(node) && node['type'] !== 'block-backend'),
      ...nodes.filter((node) => !isUser(node) && !used.has(node['id'] ?? null)),
    ];
    for (const root of roots) {
      const id = root['id'] ?? null;
      const isEmpty = !edges.some((edge) => edge.parent === id);
      if (root['type'] === 'block-backend' && isEmpty && text(root['name']) === '') continue;
      this.#lines.push(isUser(root) ? (this.#users.get(id) ?? '') + (isEmpty ? this.#painter.soft(' (no medium)') : '') : this.#describeNode(root));
      this.#shown.add(id);
      this.#below(id, '');
    }
    return this.#lines.length === 0 ? 'The block graph is empty.\n' : `${this.#lines.join('\n')}\n`;
  }

  #below(id: Json, indent: string): void {
    const edges = this.#facts.edges.filter((edge) => edge.parent === id);
    for (const [index, edge] of edges.entries()) {
      const child = this.#byId.get(edge.child);
      if (child === undefined) continue;
      const isLast = index === edges.length - 1;
      const isKnown = this.#shown.has(edge.child);
      const hasMore = isKnown && this.#facts.edges.some((other) => other.parent === edge.child);
      const branch = this.#painter.soft(`${indent}${isLast ? '└─' : '├─'} ${edge.name}:`);
      this.#lines.push(`${branch} ${this.#describeNode(child)}${hasMore ? this.#painter.soft(' (see above)') : ''}`);
      const deeper = `${indent}${isLast ? '   ' : '│  '}`;
      if (this.#isVerbose) {
        const goesOn = !isKnown && this.#facts.edges.some((other) => other.parent === edge.child);
        this.#lines.push(this.#painter.soft(`${deeper}${goesOn ? '│' : ' '}    needs ${edge.needs}; shares ${edge.shares}`));
      }
      this.#shown.add(edge.child);
      if (!isKnown) this.#below(edge.child, deeper);
    }
  }

  /** `name [driver, read-only] file, exported as 'x'`. */
  #describeNode(node: JsonObject): string {
    const name = text(node['name']);
    const info = this.#facts.infos.get(name);
    const exported = this.#facts.exports.filter((entry) => entry['node-name'] === name).map((entry) => `'${text(entry['id'])}'`);
    const driver = info === undefined ? '' : ` [${text(info['drv'])}${info['ro'] === true ? ', read-only' : ''}]`;
    const isProtocol = !this.#facts.edges.some((edge) => edge.parent === node['id']);
    const file = isProtocol && info !== undefined && text(info['file']) !== '' ? ` ${text(info['file'])}` : '';
    return `${this.#painter.name(name)}${driver}${file}${exported.length === 0 ? '' : this.#painter.good(` exported as ${exported.join(', ')}`)}`;
  }

  /** The block graph calls exports and devices without a drive name '': the other queries tell who they are. */
  #nameUsers(): void {
    const { nodes, edges, exports, jobs, devices } = this.#facts;
    const unnamedExports = [...exports];
    const unnamedDevices = devices.filter((device) => text(device['device']) === '');
    const { painter } = { painter: this.#painter };
    for (const node of nodes) {
      const id = node['id'] ?? null;
      const name = text(node['name']);
      if (node['type'] === 'block-job') {
        const job = jobs.find((candidate) => candidate['device'] === name);
        this.#users.set(id, `job ${painter.name(`'${name}'`)}${job === undefined ? '' : `: ${jobText(job)}`}`);
      } else if (name !== '') this.#users.set(id, `device ${painter.name(`'${name}'`)}`);
      else {
        const root = edges.find((edge) => edge.parent === id);
        const top = root === undefined ? '' : text(this.#byId.get(root.child)?.['name']);
        const entry = takeFirst(unnamedExports, (candidate) => candidate['node-name'] === top);
        const device = entry === undefined ? takeFirst(unnamedDevices, (candidate) => nodeOf(candidate) === top) : undefined;
        if (entry !== undefined) this.#users.set(id, `export ${painter.name(`'${text(entry['id'])}'`)} (${text(entry['type'])})`);
        else if (device !== undefined) this.#users.set(id, `device ${painter.name(`'${text(device['qdev'])}'`)}`);
        else this.#users.set(id, 'unnamed user');
      }
    }
  }
}

function jobText(job: JsonObject): string {
  const how = [text(job['type']), text(job['status'])].filter((word) => word !== '').join(', ');
  return `${how}, ${text(job['offset'])} of ${text(job['len'])} bytes`;
}

function nodeOf(device: JsonObject): string {
  const inserted = device['inserted'];
  return isJsonObject(inserted) ? text(inserted['node-name']) : '';
}

function takeFirst(list: JsonObject[], fits: (entry: JsonObject) => boolean): JsonObject | undefined {
  const index = list.findIndex(fits);
  return index < 0 ? undefined : list.splice(index, 1)[0];
}

function objects(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

function text(value: Json | undefined): string {
  return value === undefined || value === null ? '' : String(value);
}

const permOrder = ['consistent-read', 'write', 'write-unchanged', 'resize'];

function permText(list: Json | undefined): string {
  const perms = Array.isArray(list) ? list.map(String) : [];
  if (permOrder.every((perm) => perms.includes(perm))) return 'everything';
  return perms.length === 0 ? 'nothing' : perms.sort((a, b) => permOrder.indexOf(a) - permOrder.indexOf(b)).join(', ');
}
