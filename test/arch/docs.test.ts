/* What the documents name exists, and what the README shows works as it stands there. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { builtProgram, projectRoot, run } from '../support/run.ts';
import { tempFolder } from '../support/tmp.ts';

const documents = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: projectRoot, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.startsWith('docs/adr/') && existsSync(join(projectRoot, file)));

describe('documents', () => {
  it('there are some', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md']));
  });

  it.each(documents)('%s names only paths that exist', (file) => {
    const text = readFileSync(join(projectRoot, file), 'utf8');
    const paths = [...text.matchAll(/(?<![\w./-])((?:src|test|bin|man|docs|bench|examples|scripts)\/[\w./-]*\w)/g)].map((match) => match[1] ?? '');
    expect(paths.filter((path) => !path.includes('NAME') && !existsSync(join(projectRoot, path)))).toEqual([]);
  });
});

describe('README', () => {
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');

  it('shows a library program that runs in this Node', async () => {
    const program = /```js\n(.*?)```/s.exec(readme)?.[1] ?? '';
    expect(program).toContain("from 'tsimg'");
    builtProgram('tsimg');
    using folder = tempFolder('readme');
    mkdirSync(folder.file('node_modules'));
    symlinkSync(projectRoot, folder.file('node_modules/tsimg'));
    writeFileSync(folder.file('program.mjs'), program);
    const { code, stdout, stderr } = await run(process.execPath, ['program.mjs'], { cwd: folder.path });
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${1024 ** 3} 1\n`, stderr: '' });
  });

  it('shows a session that works from its first line to its last', async () => {
    const session = /```\n(\$ npx tsimg create.*?)```/s.exec(readme)?.[1]?.split('\n') ?? [];
    const typed = session
      .filter((line) => line.startsWith('$ npx '))
      .map((line) =>
        line
          .slice('$ npx '.length)
          .replace(/\s+#.*$/, '')
          .split(' '),
      );
    const lines = session.filter((line) => line.startsWith('(QEMU) ')).map((line) => line.slice('(QEMU) '.length));
    expect([typed.length, lines.length]).toEqual([3, 7]);
    using folder = tempFolder('readme');
    for (const [program = '', ...words] of typed) {
      const input = program === 'tsqmp' ? `${lines.join('\n').replaceAll('/tmp/', `${folder.path}/`)}\n` : '';
      const { code, stderr } = await run(process.execPath, [builtProgram(program), ...words], { cwd: folder.path, input });
      // the old spelling earns notes, and nothing else
      expect({ words, code, stderr: stderr.replace(/^note: .*\n/gm, '') }).toEqual({ words, code: 0, stderr: '' });
    }
  });

  it('shows lines without a terminal that work as they are typed', async () => {
    const block = /## Without a terminal\n\n```\n(.*?)```/s.exec(readme)?.[1] ?? '';
    expect(block.split('\n').filter((line) => line.startsWith('npx '))).toHaveLength(5);
    using folder = tempFolder('readme');
    const programs = ['tsimg', 'tsnbd', 'tsqmp'].map(
      (name) => `${name}() { '${process.execPath}' '${builtProgram(name)}' ${name === 'tsnbd' ? `--pid-file='${folder.file('pid')}' ` : ''}"$@"; }\n`,
    );
    const lines = `set -e\n${programs.join('')}npx() { "$@"; }\n${block.replaceAll('/tmp/', `${folder.path}/`)}`;
    const { code, stdout, stderr } = await run('sh', ['-c', lines], { cwd: folder.path });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const part of ['"device": "hd"', 'wrote 65536 bytes at offset 0', 'allocated here: 65536 of 1073741824 bytes']) expect(stdout).toContain(part);
    // a client that only says hello is none: the server goes on until it is told to end
    const client = connect(folder.file('disk.sock'));
    const [greeting] = (await once(client, 'data')) as [Buffer];
    expect(greeting.toString('latin1')).toMatch(/^NBDMAGICIHAVEOPT/);
    client.destroy();
    process.kill(Number(readFileSync(folder.file('pid'), 'utf8')));
  });

  it('shows a library program whose types need nothing else', async () => {
    const program = /```js\n(.*?)```/s.exec(readme)?.[1] ?? '';
    builtProgram('tsimg');
    using folder = tempFolder('readme');
    mkdirSync(folder.file('node_modules'));
    symlinkSync(projectRoot, folder.file('node_modules/tsimg'));
    writeFileSync(folder.file('package.json'), '{"type":"module"}');
    writeFileSync(folder.file('program.ts'), program);
    const compilerOptions = { strict: true, noEmit: true, skipLibCheck: false, target: 'es2023', module: 'nodenext', types: [], preserveSymlinks: true };
    writeFileSync(folder.file('tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    const { code, stdout } = await run(process.execPath, [join(projectRoot, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json'], { cwd: folder.path });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  });
});
