/*
 * Advice for wrong orders: what to do first. QEMU's error line comes before and unchanged; a hint is a line of its own.
 * Knows error texts and the arguments that led to them, so that it advises on any server. Rule source: QEMU's answers to each wrong order.
 */
import { existsSync } from 'node:fs';
import { isJsonObject, type Json } from '../core/util/json.ts';

/** What the answer is about, as far as it is known. */
export interface Question {
  /** The command that was given. */
  readonly command?: string | undefined;
  /** Arguments of the command. */
  readonly args: Json | undefined;
  /** Files that it names are looked for in the folder that we are in. */
  readonly isHere: boolean;
}

interface Advice {
  readonly when: RegExp;
  readonly hint: string | ((...parts: readonly string[]) => string);
  /** The hint ends with how to see the command's arguments. */
  readonly namesHelp?: boolean;
}

const advice: readonly Advice[] = [
  // -- names and files
  {
    when: /^Cannot find device='(.*)' nor node-name='(.*)'$/,
    hint: (device, node) => `no device or node is called '${device || node}': add it with blockdev-add first, or see 'graph' for the names`,
  },
  { when: /^Failed to find node with node-name='(.*)'$/, hint: "blockdev-add makes nodes; 'graph' shows those there are" },
  { when: /^Device '(.*)' not found$/, hint: "query-block lists the devices, 'graph' the nodes" },
  { when: /^Image is not in (\S+) format$/, hint: "look at the file with 'tsimg info', and give its format as driver=" },
  {
    when: /^Failed to get (?:shared )?"(.*)" lock$/,
    hint: 'the image is open already, here or in another process: a backup needs a file of its own, tsimg create makes one',
  },
  { when: /^Duplicate nodes with node-name='(.*)'$/, hint: (node) => `blockdev-del node-name=${node} first, or choose another node-name` },
  { when: /^Invalid node-name: '(.*)'$|^Node name too long$/, hint: 'a letter first, then letters, digits and -._, at most 31 of them' },
  { when: /^'node-name' must be specified for the root node$/, hint: 'give node-name=NAME' },
  // -- arguments, old forms among them
  { when: /^Parameter 'id' is unexpected$/, hint: "today's form is node-name=NAME; without --strict tsqmp accepts the old one" },
  { when: /^Parameter 'if' is unexpected$/, hint: 'a node has no interface: leave if= out; without --strict tsqmp accepts the old form' },
  { when: /^Parameter 'options' is unexpected$/, hint: 'the arguments are flat today: driver=… node-name=… file.driver=…' },
  { when: /^Parameter 'backing' is unexpected$/, hint: 'only formats with backing files take it: driver=qcow2' },
  { when: /^Parameter 'file' is missing$/, hint: 'the format needs a node below it: file.driver=file file.filename=FILE' },
  { when: /^Parameter '(.*)' is missing$/, hint: (name) => `give ${name}=…`, namesHelp: true },
  {
    when: /^Invalid parameter type for '(.*)', expected: string$/,
    hint: (name) => `a number or true is a text when it stands in quotes: ${name}="…"`,
  },
  { when: /^Invalid parameter type for '(.*)', expected: (.*)$/, hint: (name, type) => `${name} takes a value of type ${type}`, namesHelp: true },
  { when: /^Expected a key=value pair, got '(.*)'$/m, hint: 'arguments are key=value', namesHelp: true },
  // -- NBD server and exports
  { when: /^NBD server not running$/, hint: 'start it first: nbd-server-start addr.type=unix addr.data.path=/tmp/fleece.sock' },
  { when: /^NBD server already running$/, hint: 'nbd-server-stop ends it; exports can be added to the running one' },
  { when: /^Failed to bind socket to (.*): Address already in use$/, hint: (path) => `something serves ${path} already: stop that, or choose another address` },
  { when: /^Failed to bind socket to (.*): No such file or directory$/, hint: 'the folder of the socket has to exist' },
  { when: /^Export '(.*)' is not found$/, hint: 'query-block-exports lists the exports' },
  { when: /^Block export id '(.*)' is already in use$/, hint: (id) => `choose another id, or block-export-del id=${id} first` },
  { when: /^NBD server already has export named '(.*)'$/, hint: 'give another name=' },
  { when: /^export '(.*)' still in use$/i, hint: 'clients are connected: let them finish, or use mode=hard' },
  // -- jobs
  { when: /^Invalid job ID ''$/, hint: 'a node has no job id of its own: give job-id=NAME' },
  { when: /^Invalid job ID '(.*)'$/, hint: 'a letter first, then letters, digits and -._' },
  { when: /^Job ID '(.*)' already in use$/, hint: 'query-jobs lists the jobs; choose another job-id' },
  { when: /^Block job '(.*)' not found$|^Job not found$/, hint: 'query-jobs lists the jobs' },
  {
    when: /^Source and target image have different sizes$/,
    hint: 'the target has to be as large as the source: query-block tells its size, tsimg create makes the target anew',
  },
  { when: /^Source and target cannot be the same$/, hint: 'back up to another node: an empty qcow2 whose backing is the source' },
  {
    when: /^Job '(.*)' in state '(.*)' cannot accept command verb 'complete'$/,
    hint: (job) => `only mirrors and active commits are completed; a backup is ended with block-job-cancel device=${job}`,
  },
  {
    when: /^Job '(.*)' in state '(.*)' cannot accept command verb '(?:finalize|dismiss)'$/,
    hint: 'that comes after the job has ended: query-jobs tells its state',
  },
  { when: /^Parameter 'speed' expects a non-negative value$/, hint: 'bytes a second, 0 for no limit' },
  { when: /^Bitmap sync mode must be given when providing a bitmap$/, hint: 'bitmap-mode=on-success, never or always' },
  {
    when: /^must provide a valid bitmap name for '(.*)' sync mode$/,
    hint: 'block-dirty-bitmap-add makes a bitmap; the fleecing workflow uses sync=none, which needs none',
  },
  // -- who uses what
  {
    when: /^Node '(.*)' is busy: block device is in use by block job: (.*)$/,
    hint: (node, type) => `a ${type} job uses '${node}': end the job first (query-jobs, then block-job-cancel device=JOB); 'blockers ${node}' tells more`,
  },
  {
    when: /^Node '(.*)' is busy: node is used as backing hd of '(.*)'$/,
    hint: (_node, top) => `'${top}' reads through it: blockdev-del node-name=${top} first`,
  },
  {
    when: /^Node (\S+) is in use$/,
    hint: (node) => `'${node}' is exported or under a device: remove that first (query-block-exports, then block-export-del id=… or nbd-server-remove name=…)`,
  },
  { when: /^Block device (\S+) is in use$/, hint: (node) => `another node is built on '${node}': 'graph' shows which, delete that first` },
  { when: /^Node (\S+) is not owned by the monitor$/, hint: 'it belongs to the node above it and goes with that' },
  { when: /^Block node is read-only$/, hint: 'add the target with read-only=false' },
  { when: /^Permission conflict on node '(.*?)'/, hint: "'graph -v' shows who uses the node, and what each one needs and shares" },
  { when: /^Need a root block node$/, hint: "another node or a filter stands above it: 'graph' shows which" },
  { when: /^Making '(.*)' a (?:backing|.*) child of '(.*)' would create a cycle$/, hint: 'a node cannot stand below itself' },
];

/** Advice about files, in the words of the command that was given. */
function fileHint(message: string, question: Question | undefined): string | undefined {
  const args = question?.args !== undefined && isJsonObject(question.args) ? question.args : {};
  const missing = /^Could not open '(.*)': No such file or directory$/s.exec(message)?.[1];
  if (missing !== undefined) {
    const { driver } = args;
    // protocols hold bytes as they are
    const format = driver === undefined || driver === 'qcow2' ? 'qcow2' : 'raw';
    return `create it first: tsimg create -f ${format} ${shellWord(missing)} SIZE`;
  }
  const name = /^Cannot find device='(.*)' nor node-name='\1'$/s.exec(message)?.[1];
  if (name === undefined || question?.isHere !== true || args['file'] !== name || !existsSync(name)) return undefined;
  return `file= takes the name of a node, '${name}' is a file: file.driver=file file.filename=${lineWord(name)}`;
}

/** A word for the system's shell. */
function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value for a line of our shell. */
function lineWord(text: string): string {
  return /^[^\s"'\\]+$/.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** Words that QEMU puts before the message of a step inside. */
const contexts = /^(?:Could not create node: |Could not open backing file: |Error while parsing command line: )+/;

/** What to do about an error text, if there is advice. */
export function hintFor(message: string, question?: Question): string | undefined {
  const texts = [message, message.replace(contexts, '')];
  for (const text of texts) {
    const hint = fileHint(text, question);
    if (hint !== undefined) return hint;
  }
  for (const { when, hint, namesHelp } of advice) {
    for (const text of texts) {
      const match = when.exec(text);
      if (match === null) continue;
      const told = typeof hint === 'string' ? hint : hint(...match.slice(1).map((part) => part ?? ''));
      return namesHelp === true ? `${told}; ${helpOf(question)}` : told;
    }
  }
  return undefined;
}

/** The words to type to see what a command takes. */
export function helpOf(question: Question | undefined): string {
  return question?.command === undefined ? "'help' and a command's name list its arguments" : `'help ${question.command}' lists the arguments`;
}
