/*
 * Old spellings of commands, rewritten into today's with a one-line note. Not used under --strict, where they are QEMU's
 * errors. Rule source: the 2013 series, and QEMU's list of removed features.
 */
import { isJsonObject, type JsonObject } from '../core/util/json.ts';
import { unflatten } from '../core/util/key-values.ts';
import type { CommandContext } from './command.ts';

/** blockdev-add of 2013: `id=`, `if=none`, dotted keys on the wire, `options={…}`. */
export function upgradeBlockdevAdd(args: JsonObject, context: CommandContext): JsonObject {
  let form = args;
  const options = form['options'];
  if (isJsonObject(options)) {
    context.note("blockdev-add: 'options={…}' is flat today: give its members as arguments");
    const { options: _options, ...rest } = form;
    form = { ...options, ...rest };
  }
  if (Object.keys(form).some((key) => key.includes('.'))) {
    context.note('blockdev-add: dotted keys are nested objects on the wire today: file={driver:…, filename:…}');
    form = unflatten(form) as JsonObject;
  }
  if (form['if'] === 'none') {
    context.note("blockdev-add: 'if=none' is gone: a node has no interface");
    const { if: _if, ...rest } = form;
    form = rest;
  }
  const id = form['id'];
  if (id !== undefined && form['node-name'] === undefined) {
    context.note("blockdev-add: 'id' is spelled 'node-name' today");
    const { id: _id, ...rest } = form;
    form = { ...rest, 'node-name': id };
  }
  return form;
}
