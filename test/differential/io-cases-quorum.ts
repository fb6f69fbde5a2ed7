/* Quorums below qemu-io: votes of files of which some are wrong, broken or of another size. Files are those of io-harness.ts. */
import type { IoCase } from './io-harness.ts';

/** Children: a file each, or a file behind blkdebug with an error at that event. */
function quorum(rules: string, ...children: readonly string[]): string {
  const words = children.map((child, index) => {
    const [name = '', event, more = ''] = child.split('!');
    const at = `children.${index}`;
    if (event === undefined) return `${at}.driver=raw,${at}.file.filename=${name}`;
    const rule = `${at}.file.inject-error.0`;
    const options = [`event=${event}`, ...more.split('+')].map((option) => `${rule}.${option}`);
    return [`${at}.driver=raw,${at}.file.driver=blkdebug`, ...options, `${at}.file.image.filename=${name}`].join(',');
  });
  return ['driver=quorum', rules, ...words].filter((word) => word !== '').join(',');
}

const opts = (text: string, ...commands: readonly string[]): IoCase => ({ args: `--image-opts ${text}`, commands });
const two = 'vote-threshold=2';
const good = ['v0.raw', 'v1.raw', 'v2.raw'];
/** Its first sector is another. */
const oneBad = ['v0.raw', 'bad.raw', 'v2.raw'];

export const quorumCases: readonly IoCase[] = [
  opts(quorum(two, ...good), 'read -P 7 0 64k', 'write -P 3 1k 5k', 'read -P 3 1k 5k', 'flush', 'length'),
  opts(quorum(two, ...good), 'write -z 0 64k', 'read -P 0 0 64k', 'discard 0 64k', 'map'),
  opts(quorum(two, ...good), 'map', 'alloc 0 1M'),
  opts(quorum(two, ...good), 'aio_read -P 7 0 64k', 'aio_flush', 'truncate 2M', 'length'),
  opts(quorum(two, ...oneBad), 'read -P 7 0 1k', 'read -P 7 512 1k', 'map'),
  opts(quorum('vote-threshold=3', ...oneBad), 'read -P 7 0 1k', 'read -P 7 512 1k'),
  opts(quorum('vote-threshold=1', 'bad.raw', 'v1.raw'), 'read -P 9 0 512'),
  opts(quorum('vote-threshold=1', 'v0.raw', 'bad.raw'), 'read -P 7 0 512'),
  opts(quorum(`${two},rewrite-corrupted=on`, ...oneBad), 'read -P 7 0 1k', 'flush'),
  opts(quorum(`${two},rewrite-corrupted=on`, 'bad.raw', 'bad.raw', 'v0.raw'), 'length'),
  { args: `-r --image-opts ${quorum(`${two},rewrite-corrupted=on`, ...oneBad)}`, commands: ['read -P 7 0 1k'] },
  { args: `-r --image-opts ${quorum(two, ...oneBad)}`, commands: ['read -P 7 0 1k', 'write 0 512'] },
  opts(quorum(`${two},blkverify=on`, 'v0.raw', 'v1.raw'), 'read -P 7 0 1k', 'write -P 2 0 1k', 'read -P 2 0 1k'),
  opts(quorum(`${two},blkverify=on`, 'v0.raw', 'bad.raw'), 'read 512 512', 'read 0 1k', 'length'),
  // children that fail
  ...['read', 'write'].flatMap((type) => {
    const [full, broken] = [`v1.raw!none!errno=28+iotype=${type}`, `v2.raw!none!errno=5+iotype=${type}`];
    return [
      opts(quorum(two, 'v0.raw', full, 'v2.raw'), 'read -P 7 0 64k', 'write -P 1 0 64k', 'read -P 1 0 64k'),
      opts(quorum('vote-threshold=3', 'v0.raw', full, 'v2.raw'), 'read -P 7 0 64k', 'write -P 1 0 64k'),
      opts(quorum(two, 'v0.raw', full, broken), 'read -P 7 0 64k', 'write -P 1 0 64k'),
      opts(quorum(two, 'v0.raw', broken, full), 'read -P 7 0 64k', 'write -P 1 0 64k'),
      opts(quorum('vote-threshold=1', 'v0.raw', full, 'bad.raw'), 'read 0 64k', 'write -P 1 0 64k'),
    ];
  }),
  opts(quorum(two, 'v0.raw!none!iotype=write', 'v1.raw', 'v2.raw'), 'write -P 1 0 64k', 'read -P 1 0 64k'),
  // one after another
  opts(quorum(`${two},read-pattern=fifo`, 'bad.raw', 'v1.raw', 'v2.raw'), 'read -P 9 0 512', 'write -P 1 0 512', 'read -P 1 0 512'),
  opts(quorum(`${two},read-pattern=fifo`, 'v0.raw!none!iotype=read', 'v1.raw', 'v2.raw'), 'read -P 7 0 64k'),
  opts(quorum('vote-threshold=1,read-pattern=fifo', 'v0.raw!none!iotype=read', 'v1.raw!none!errno=28+iotype=read'), 'read -P 7 0 64k'),
  opts(quorum(`${two},read-pattern=fifo,blkverify=on`, ...good), 'read -P 7 0 64k'),
  // what cannot be
  ...[
    '',
    'vote-threshold=0',
    'vote-threshold=4',
    'vote-threshold=-1',
    'vote-threshold=x',
    `${two},blkverify=on`,
    `${two},read-pattern=foo`,
    `${two},foo=1`,
  ].map((rules) => opts(quorum(rules, ...good), 'read 0 512')),
  opts(quorum(`${two},blkverify=on,rewrite-corrupted=on`, 'v0.raw', 'v1.raw'), 'read 0 512'),
  opts(quorum(two), 'read 0 512'),
  opts(quorum('vote-threshold=1', 'v0.raw', 'r.raw'), 'read 0 512'),
  opts(quorum('vote-threshold=1', 'v0.raw', 'none.raw'), 'read 0 512'),
];
