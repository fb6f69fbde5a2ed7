/* One program of ours beside a real one on the same image, both ways. Each expected line is QEMU's own. */
import type { Fault } from '../fault.ts';
import { shellScene } from '../shell.ts';

const faults: readonly Fault[] = [
  shellScene({
    name: 'our-readers-beside-a-real-writer',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'check -f qcow2 1 1 | check -U -f qcow2 0 0 | check -q -r all -f qcow2 1 1 | map -f qcow2 1 1 | map -U -f qcow2 0 0 | convert -f qcow2 -O raw 1 1 | convert -U -f qcow2 -O raw 0 0',
    script: `
      qemu-img create -q -f qcow2 a 4M; qemu-img create -q -f raw b 1M; serve s qemu-nbd -t -f qcow2  a
      for c in "check -f qcow2" "check -U -f qcow2" "check -q -r all -f qcow2" "map -f qcow2" "map -U -f qcow2" "convert -f qcow2 -O raw" "convert -U -f qcow2 -O raw"; do
        case $c in convert*) tsimg $c a c >o 2>&1;; *) tsimg $c a >o 2>&1;; esac; echo "$c $? $(grep -c lock o)"
      done
      stop
    `,
  }),
  shellScene({
    name: 'our-writers-beside-a-real-writer-raw',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'tsimg: a: error while converting raw: Failed to get "resize" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "resize" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "resize" lock | Is another process using the image [a]? | tsimg: a: Failed to get "resize" lock | Is another process using the image [a]? | 4194304',
    script: `
      qemu-img create -q -f raw a 4M; qemu-img create -q -f raw b 1M; serve s qemu-nbd -t -f raw  a
      tsimg convert -f raw -O raw b a; tsimg convert -n -f raw -O raw b a; tsimg resize -q -f raw a +1M; tsimg resize -q --shrink -f raw a 1M; tsimg create -q -f raw a 1M; stat -c %s a
      stop
    `,
  }),
  shellScene({
    name: 'our-writers-beside-a-real-writer-qcow2',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'tsimg: a: error while converting qcow2: Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: a: Failed to get "write" lock | Is another process using the image [a]? | 196616 | No errors were found on the image.',
    script: `
      qemu-img create -q -f qcow2 a 4M; qemu-img create -q -f raw b 1M; serve s qemu-nbd -t -f qcow2  a
      tsimg convert -f raw -O qcow2 b a; tsimg convert -n -f raw -O qcow2 b a; tsimg resize -q -f qcow2 a +1M; tsimg resize -q --shrink -f qcow2 a 1M; tsimg create -q -f qcow2 a 1M; stat -c %s a
      stop; tsimg check a | head -n 1
    `,
  }),
  shellScene({
    name: 'our-commands-beside-a-real-reader',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'check -f qcow2 0 0 | check -U -f qcow2 0 0 | check -q -r all -f qcow2 1 1 | map -f qcow2 0 0 | map -U -f qcow2 0 0 | convert -f qcow2 -O raw 0 0 | convert -U -f qcow2 -O raw 0 0 | tsimg: a: error while converting qcow2: Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: a: Failed to get "write" lock | Is another process using the image [a]? | 196616',
    script: `
      qemu-img create -q -f qcow2 a 4M; qemu-img create -q -f raw b 1M; serve s qemu-nbd -t -f qcow2 -r a
      for c in "check -f qcow2" "check -U -f qcow2" "check -q -r all -f qcow2" "map -f qcow2" "map -U -f qcow2" "convert -f qcow2 -O raw" "convert -U -f qcow2 -O raw"; do
        case $c in convert*) tsimg $c a c >o 2>&1;; *) tsimg $c a >o 2>&1;; esac; echo "$c $? $(grep -c lock o)"
      done
      tsimg convert -f raw -O qcow2 b a; tsimg convert -n -f raw -O qcow2 b a; tsimg resize -q -f qcow2 a +1M; tsimg resize -q --shrink -f qcow2 a 1M; tsimg create -q -f qcow2 a 1M; stat -c %s a
      stop
    `,
  }),
  shellScene({
    name: 'real-writers-beside-our-server',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'check -r all 1 Failed to get "write" lock | map 1 Failed to get shared "write" lock | resize -q a +1M 1 Failed to get "write" lock | snapshot -c x 1 Failed to get "write" lock | amend -o lazy_refcounts=on 1 Failed to get "write" lock | bitmap --add a b0 1 Failed to get "write" lock | rebase -u -b \'\' 1 Failed to get "write" lock | bench -w -c 1 1 Failed to get "write" lock | No errors were found on the image.',
    script: `
      qemu-img create -q -f qcow2 a 4M; qemu-img create -q -f raw b 1M; serve s tsnbd -t -f qcow2  a
      for c in "check -r all" "map" "resize -q a +1M" "snapshot -c x" "amend -o lazy_refcounts=on" "bitmap --add a b0" "rebase -u -b ''" "bench -w -c 1"; do
        case $c in *" a "*) eval qemu-img $c >o 2>&1;; *) eval qemu-img $c a >o 2>&1;; esac; echo "$c $? $(grep -o 'Failed to get .* lock' o)"
      done
      stop; qemu-img check a | head -n 1
    `,
  }),
  shellScene({
    name: 'real-writers-beside-our-reader',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'check -r all 1 Failed to get "write" lock | map 0  | resize -q a +1M 1 Failed to get "write" lock | snapshot -c x 1 Failed to get "write" lock | amend -o lazy_refcounts=on 1 Failed to get "write" lock | bitmap --add a b0 1 Failed to get "write" lock | rebase -u -b \'\' 1 Failed to get "write" lock | bench -w -c 1 1 Failed to get "write" lock',
    script: `
      qemu-img create -q -f qcow2 a 4M; qemu-img create -q -f raw b 1M; serve s tsnbd -t -f qcow2 -r a
      for c in "check -r all" "map" "resize -q a +1M" "snapshot -c x" "amend -o lazy_refcounts=on" "bitmap --add a b0" "rebase -u -b ''" "bench -w -c 1"; do
        case $c in *" a "*) eval qemu-img $c >o 2>&1;; *) eval qemu-img $c a >o 2>&1;; esac; echo "$c $? $(grep -o 'Failed to get .* lock' o)"
      done
      stop
    `,
  }),
  shellScene({
    name: 'two-overlays-share-a-backing-file',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      '0 | tsimg: Could not open \'base\': Failed to get "write" lock | Is another process using the image [base]? | tsimg: Could not open \'base\': Failed to get "write" lock | Is another process using the image [base]? | 1 | tsimg: Could not open \'base\': Failed to get "write" lock | Is another process using the image [base]? | tsimg: base: Failed to get "write" lock | Is another process using the image [base]? | 0 | 0 | Images are identical. | tsnbd: Failed to blk_new_open \'base\': Failed to get "write" lock | Is another process using the image [base]?',
    script: `
      qemu-img create -q -f qcow2 base 4M; for o in o1 o2; do qemu-img create -q -f qcow2 -b base -F qcow2 $o; done
      serve s qemu-nbd -t -f qcow2 o1
      tsimg convert -O raw o2 c; echo $?; tsimg resize -q base 8M; tsimg check -q -r all base; echo $?; tsimg convert -n -f raw -O qcow2 c base; tsimg create -q -f qcow2 base 1M
      tsimg create -q -f qcow2 -b o1 -F qcow2 o3; echo $?; tsimg convert -n -O qcow2 base o2; echo $?
      serve t tsnbd -t -f qcow2 o2; qemu-img compare -U o1 o2; tsnbd -t -f qcow2 -k "$PWD/x" base; stop
    `,
  }),
  shellScene({
    name: 'every-name-of-a-locked-file',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'tsimg: Could not open \'hl\': Failed to get "resize" lock | Is another process using the image [hl]? | tsimg: Could not open \'sl2\': Failed to get "resize" lock | Is another process using the image [sl2]? | tsimg: Could not open \'d/x\': Failed to get "resize" lock | Is another process using the image [d/x]? | tsimg: Could not open \'file:sl\': Failed to get "resize" lock | Is another process using the image [sl]? | 4194304',
    script: `
      qemu-img create -q -f raw a 4M; ln -s a sl; ln a hl; ln -s sl sl2; mkdir d; ln -s ../a d/x
      serve s qemu-nbd -t -f raw a
      for n in hl sl2 d/x file:sl; do tsimg resize -q -f raw $n 8M; done; stat -c %s a; stop
    `,
  }),
  shellScene({
    name: 'data-file-of-a-served-image',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'tsimg: Could not open \'d\': Failed to get "resize" lock | Is another process using the image [d]? | tsimg: Could not open \'d\': Failed to get shared "write" lock | Is another process using the image [d]? | tsimg: d: Failed to get "resize" lock | Is another process using the image [d]? | tsimg: n: Failed to get "resize" lock | Is another process using the image [d]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | 4194304',
    script: `
      qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on a 4M; serve s qemu-nbd -t -f qcow2 a
      tsimg resize -q -f raw d 8M; tsimg convert -f raw -O raw d c; tsimg create -q -f raw d 1M; tsimg create -q -f qcow2 -o data_file=d n 4M; tsimg check -q -r all a; tsimg resize -q a 8M; stat -c %s d; stop
    `,
  }),
  shellScene({
    name: 'source-and-target-are-one-file',
    kind: 'locks',
    expected:
      'tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: r: error while converting raw: Failed to get "write" lock | Is another process using the image [r]? | tsimg: a: Error: Trying to create an image with the same filename as the backing file | tsimg: Could not open \'a\': Failed to get "write" lock | Is another process using the image [a]? | tsimg: a: error while converting qcow2: Failed to get "write" lock | Is another process using the image [a]? | 4194304 | No errors were found on the image.',
    script: `
      tsimg create -q -f qcow2 a 4M; tsimg create -q -f raw r 4M
      tsimg convert -n -f qcow2 -O qcow2 a a; tsimg convert -f raw -O raw r r; tsimg create -q -f qcow2 -b a -F qcow2 a; tsimg create -q -f qcow2 -b a -F qcow2 o; tsimg convert -n -O qcow2 o a; tsimg convert -n -O qcow2 a o; tsimg convert -O qcow2 o a
      stat -c %s r; tsimg check a | head -n 1
    `,
  }),
  shellScene({
    name: 'locking-off-and-force-share',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      "Offset          Length          Mapped to       File | tsimg: Could not open 'driver=qcow2,file.filename=a,file.locking=auto': Failed to get shared \"write\" lock | Is another process using the image [a]? | tsimg: Could not open 'driver=qcow2,file.filename=a,file.locking=on': Failed to get shared \"write\" lock | Is another process using the image [a]? | tsimg: Could not open 'driver=qcow2,file.filename=a,file.locking=x': invalid parameter value: x | Offset          Length          Mapped to       File | tsimg: Could not open 'driver=qcow2,force-share=on,file.filename=a': force-share=on can only be used with read-only images | tsimg: --force-share/-U conflicts with image options | tsimg: Could not open 'a': force-share=on can only be used with read-only images",
    script: `
      qemu-img create -q -f qcow2 a 4M; serve s qemu-nbd -t -f qcow2 a
      for l in off auto on x; do tsimg map --image-opts driver=qcow2,file.filename=a,file.locking=$l; done
      tsimg map --image-opts driver=qcow2,force-share=on,file.filename=a; tsimg resize -q --image-opts driver=qcow2,force-share=on,file.filename=a 8M
      tsimg info -U --image-opts driver=qcow2,force-share=off,file.filename=a; tsimg check -U -r all a; stop
    `,
  }),
  shellScene({
    name: 'killed-server-leaves-no-lock',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected: 'served | lost | resized | No errors were found on the image. | 8388608',
    script: `
      tsimg create -q -f qcow2 a 4M; serve s tsnbd -t -f qcow2 a 2>/dev/null; tsimg resize -q a 8M 2>/dev/null || echo served
      kill -9 $servers; wait 2>/dev/null; servers=; echo lost
      qemu-img resize -q a 8M && echo resized; tsimg check a | head -n 1; qemu-img info --output=json a | grep -m 1 -o '8388608'
    `,
  }),
  shellScene({
    name: 'failed-start-of-a-server-leaves-no-lock',
    kind: 'locks',
    peers: ['qemu-img', 'qemu-nbd'],
    expected:
      'tsnbd: Failed to blk_new_open \'a\': Failed to get "write" lock | Is another process using the image [a]? | alive | virtual size: 9 MiB (9437184 bytes)',
    script: `
      tsimg create -q -f qcow2 a 4M; serve s tsnbd -t -f qcow2 a
      tsnbd -t -f qcow2 -k "$PWD/x" a 2>&1 | sed "s#$PWD/##"; kill -0 $servers && echo alive; stop; tsimg resize -q a 8M; qemu-img resize -q a 9M; tsimg info a | grep virtual
    `,
  }),
];
export default faults;
