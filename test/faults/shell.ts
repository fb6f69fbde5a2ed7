/* Scenes that are a few lines of shell: the checkout's programs are its commands `tsimg` and `tsnbd`, peers go by their names. */
import type { Fault } from './fault.ts';
import { peerPath, type Stage } from './stage.ts';

export type ShellScene = Omit<Fault, 'play'> & { readonly script: string };

/** A scene whose outcome is all that `script` prints on both streams: lines joined by ` | `, bytes that are no ASCII as `cat -v` shows them. */
export function shellScene({ script, ...scene }: ShellScene): Fault {
  return { ...scene, play: (stage) => playScript(stage, script) };
}

const helpers = `
serve() { rm -f "$1.pid"; local name=$1; shift; "$@" --pid-file "$PWD/$name.pid" -k "$PWD/$name.sock" & while [ ! -s "$name.pid" ]; do sleep 0.02; done; servers="$servers $(cat "$name.pid")"; }
stop() { kill $servers; wait; servers=; }
trap 'kill $servers 2>/dev/null' EXIT
`;

async function playScript(stage: Stage, script: string): Promise<string> {
  const commands = (['tsimg', 'tsnbd'] as const).map((program) => {
    const words = stage.command(program).map((word) => `'${word}'`);
    return `${program}() { ${words.join(' ')} "$@"; }`;
  });
  const peers = ['qemu-img', 'qemu-io', 'qemu-nbd'].map((name) => `${name}() { '${peerPath(name)}' "$@"; }`);
  const text = `exec 2>&1\n${[...commands, ...peers].join('\n')}\n${helpers}\n${script}\n`;
  const { stdout } = await stage.exec('bash', ['-o', 'pipefail', '-c', `( ${text} ) | cat -v`], { limitMs: 110_000 });
  return stdout.trim().split('\n').join(' | ');
}
