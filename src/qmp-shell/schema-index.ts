/*
 * What query-qmp-schema tells, by name: the arguments of commands, the data of events, the words that a value may be. For
 * completion and help, with any server. Knows no command. Rule source: QEMU's introspection schema (SchemaInfo).
 */
import { isJsonObject, type Json, type JsonObject } from '../core/util/json.ts';

export interface MemberInfo {
  readonly name: string;
  /** Name of its type, for the other calls here. */
  readonly type: string;
  readonly isOptional: boolean;
  readonly isDeprecated: boolean;
}

export class SchemaIndex {
  readonly #infos = new Map<string, JsonObject>();

  constructor(infos: readonly JsonObject[]) {
    for (const info of infos)
      this.#infos.set(`${info['meta-type'] === 'command' || info['meta-type'] === 'event' ? text(info['meta-type']) : 'type'} ${text(info['name'])}`, info);
  }

  /** Names of all commands, or of all events. */
  names(kind: 'command' | 'event'): string[] {
    return [...this.#infos.values()].flatMap((info) => (info['meta-type'] === kind ? [text(info['name'])] : []));
  }

  /** The type of a command's arguments or of an event's data. */
  argumentType(kind: 'command' | 'event', name: string): string | undefined {
    const type = this.#infos.get(`${kind} ${name}`)?.['arg-type'];
    return typeof type === 'string' ? type : undefined;
  }

  isDeprecated(command: string): boolean {
    return hasFeature(this.#infos.get(`command ${command}`), 'deprecated');
  }

  /** The members of an object type; those of a branch too, once `known` tells which branch it is. */
  members(type: string, known: JsonObject = {}): MemberInfo[] {
    const info = this.#type(type);
    if (info === undefined) return [];
    if (info['meta-type'] === 'alternate') return objects(info['members']).flatMap((branch) => this.members(text(branch['type']), known));
    if (info['meta-type'] !== 'object') return [];
    const found = objects(info['members']).map(memberOf);
    const tag = info['tag'];
    if (typeof tag !== 'string') return found;
    const branch = objects(info['variants']).find((variant) => variant['case'] === known[tag]);
    return branch === undefined ? found : [...found, ...this.members(text(branch['type']), known)];
  }

  /** The type at a dotted path (`file.driver`), following what is known; undefined when there is none. */
  typeAt(type: string, path: readonly string[], known: JsonObject = {}): string | undefined {
    let at: string | undefined = type;
    let value: Json = known;
    for (const step of path) {
      if (at === undefined) return undefined;
      const info = this.#type(at);
      if (info?.['meta-type'] === 'array') at = /^\d+$/.test(step) ? text(info['element-type']) : undefined;
      else at = this.members(at, isJsonObject(value) ? value : {}).find((member) => member.name === step)?.type;
      value = isJsonObject(value) ? (value[step] ?? null) : null;
    }
    return at;
  }

  /** Whether members may follow after a dot. */
  hasMembers(type: string): boolean {
    const info = this.#type(type);
    if (info?.['meta-type'] === 'alternate') return objects(info['members']).some((branch) => this.hasMembers(text(branch['type'])));
    return info?.['meta-type'] === 'object' || info?.['meta-type'] === 'array';
  }

  /** Whether a plain text may stand for the type. */
  takesText(type: string): boolean {
    const info = this.#type(type);
    if (info?.['meta-type'] === 'alternate') return objects(info['members']).some((branch) => this.takesText(text(branch['type'])));
    return info?.['meta-type'] !== 'object' && info?.['meta-type'] !== 'array';
  }

  /** The words that a value may be, where the type limits them; empty when anything goes. */
  words(type: string): string[] {
    const info = this.#type(type);
    switch (info?.['meta-type']) {
      case 'enum':
        return Array.isArray(info['values']) ? info['values'].map(text) : objects(info['members']).map((member) => text(member['name']));
      case 'builtin':
        return info['json-type'] === 'boolean' ? ['true', 'false'] : [];
      case 'alternate':
        return objects(info['members']).flatMap((branch) => this.words(text(branch['type'])));
      default:
        return [];
    }
  }

  /** A short name of a type for help: `string`, `integer`, `on|off`, `[string]`. */
  typeText(type: string): string {
    const info = this.#type(type);
    switch (info?.['meta-type']) {
      case 'enum': {
        const words = this.words(type);
        return words.length <= 8 ? words.join('|') : 'one of many words (press Tab)';
      }
      case 'builtin':
        return info['json-type'] === 'int' ? 'integer' : text(info['json-type']);
      case 'array':
        return `[${this.typeText(text(info['element-type']))}]`;
      case 'alternate':
        return [...new Set(objects(info['members']).map((branch) => this.typeText(text(branch['type']))))].join(' or ');
      default:
        return 'object';
    }
  }

  #type(name: string): JsonObject | undefined {
    return this.#infos.get(`type ${name}`);
  }
}

function memberOf(info: JsonObject): MemberInfo {
  return { name: text(info['name']), type: text(info['type']), isOptional: 'default' in info, isDeprecated: hasFeature(info, 'deprecated') };
}

function hasFeature(info: JsonObject | undefined, feature: string): boolean {
  const features = info?.['features'];
  return Array.isArray(features) && features.includes(feature);
}

function objects(list: Json | undefined): JsonObject[] {
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}

function text(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}
