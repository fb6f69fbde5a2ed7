import { describe, expect, it } from 'vitest';
import { alternate, bool, deprecated, enumOf, int64, lazy, listOf, optional, type Schema, str, struct, union } from '../../../src/core/util/schema.ts';
import { introspect } from '../../../src/core/util/schema-introspect.ts';

describe('query-qmp-schema', () => {
  it('numbers types in the order of first use and shows each once', () => {
    const status = enumOf('JobStatus', ['created', 'running'], { features: { running: ['unstable'] } });
    const infos = introspect(
      [
        { name: 'job-pause', args: struct({ id: str }) },
        { name: 'job-resume', args: struct({ id: str, old: deprecated(optional(bool)) }), features: ['deprecated'] },
        { name: 'query-jobs', returns: listOf(struct('JobInfo', { id: str, status, names: listOf(str) })), allowOob: true },
        { name: 'query-again', returns: listOf(struct('JobInfo', { id: str, status, names: listOf(str) })) },
      ],
      [{ name: 'JOB_STATUS_CHANGE', data: struct({ id: str, status }) }, { name: 'STOP' }],
    );
    expect(infos).toEqual([
      { name: 'job-pause', 'meta-type': 'command', 'arg-type': '0', 'ret-type': '1' },
      { name: 'job-resume', 'meta-type': 'command', 'arg-type': '2', 'ret-type': '1', features: ['deprecated'] },
      { name: 'query-jobs', 'meta-type': 'command', 'arg-type': '1', 'ret-type': '[3]', 'allow-oob': true },
      { name: 'query-again', 'meta-type': 'command', 'arg-type': '1', 'ret-type': '[3]' },
      { name: 'JOB_STATUS_CHANGE', 'meta-type': 'event', 'arg-type': '4' },
      { name: 'STOP', 'meta-type': 'event', 'arg-type': '1' },
      { name: '0', 'meta-type': 'object', members: [{ name: 'id', type: 'str' }] },
      { name: '1', 'meta-type': 'object', members: [] },
      {
        name: '2',
        'meta-type': 'object',
        members: [
          { name: 'id', type: 'str' },
          { name: 'old', type: 'bool', default: null, features: ['deprecated'] },
        ],
      },
      { name: '[3]', 'meta-type': 'array', 'element-type': '3' },
      {
        name: '3',
        'meta-type': 'object',
        members: [
          { name: 'id', type: 'str' },
          { name: 'status', type: '5' },
          { name: 'names', type: '[str]' },
        ],
      },
      {
        name: '4',
        'meta-type': 'object',
        members: [
          { name: 'id', type: 'str' },
          { name: 'status', type: '5' },
        ],
      },
      { name: 'str', 'meta-type': 'builtin', 'json-type': 'string' },
      { name: 'bool', 'meta-type': 'builtin', 'json-type': 'boolean' },
      { name: '5', 'meta-type': 'enum', members: [{ name: 'created' }, { name: 'running', features: ['unstable'] }], values: ['created', 'running'] },
      { name: '[str]', 'meta-type': 'array', 'element-type': 'str' },
    ]);
  });

  it('shows unions with a variant for every word of the tag, and types that contain themselves', () => {
    const ref: Schema<unknown> = alternate('Ref', { object: lazy((): Schema<unknown> => node), string: str });
    const node: Schema<unknown> = union('Node', {
      base: { driver: enumOf('Driver', ['file', 'raw', 'bochs']) },
      tag: 'driver',
      branches: () => ({ file: { filename: str }, raw: struct('Raw', { file: ref, size: optional(int64) }) }),
    });
    const infos = introspect([{ name: 'add', args: node }], []);
    const byName = new Map(infos.map((info) => [info.name, info]));
    expect(byName.get('0')).toEqual({
      name: '0',
      'meta-type': 'object',
      members: [{ name: 'driver', type: '2' }],
      tag: 'driver',
      variants: [
        { case: 'file', type: '3' },
        { case: 'raw', type: '4' },
        { case: 'bochs', type: '1' },
      ],
    });
    expect(byName.get('5')).toEqual({ name: '5', 'meta-type': 'alternate', members: [{ type: '0' }, { type: 'str' }] });
    expect(infos.filter((info) => info.name === '0')).toHaveLength(1);
  });
});
