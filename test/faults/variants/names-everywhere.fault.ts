/* Odd names, everywhere that a name goes. Each expected line is QEMU's own. */
import type { Fault } from '../fault.ts';
import { shellScene } from '../shell.ts';

const faults: readonly Fault[] = [
  shellScene({
    name: 'name-with-newline-and-escape',
    kind: 'names',
    expected:
      'Image end offset: 262144 | 2 | [{ "start": 0, "length": 1048576, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false}] | backing file: a | b^[[1m',
    script: String.raw`
      f=$'a\nb\033[1m'
      tsimg create -q -f qcow2 "$f" 1M && tsimg check "$f" | tail -n 1
      tsimg info --output=json "$f" | grep -c 'a\\nb\\u001B\[1m'
      tsimg create -q -f qcow2 -b "$f" -F qcow2 o && tsimg map --output=json o
      tsimg info o | grep -A 1 'backing file:'
    `,
  }),
  shellScene({
    name: 'name-that-looks-like-json',
    kind: 'names',
    expected:
      "tsimg: Could not open 'json:x': Could not parse the JSON options: 1:1: JSON parse error, invalid keyword 'x' | image: ./json:x | file format: qcow2 | backing file: ./json:x | tsimg: p: Could not parse the JSON options: 1:1: JSON parse error, invalid keyword 'x' | Could not open backing image. | json:x | o",
    script: String.raw`
      tsimg create -q -f qcow2 ./json:x 1M; tsimg info json:x; tsimg info ./json:x | head -n 2
      tsimg create -q -f qcow2 -b ./json:x -F qcow2 o && tsimg info o | grep 'backing file:'
      tsimg create -q -f qcow2 -b json:x -F qcow2 p; ls
    `,
  }),
  shellScene({
    name: 'name-with-leading-dash',
    kind: 'names',
    expected: 'image: ./-o | image: ./-a | ./-a 196616 | ./-c 1048576 | ./-o 196616',
    script: String.raw`
      tsimg create -q -f qcow2 -- -a 1M; tsimg create -q -f qcow2 -b -a -F qcow2 -- -o
      tsimg info --backing-chain ./-o | grep image; tsimg convert -O raw -- -o -c; stat -c '%n %s' ./*
    `,
  }),
  shellScene({
    name: 'relative-backing-names-from-elsewhere',
    kind: 'names',
    expected:
      'image: e/top | image: e/../d/mid | image: e/../d/base | image: ./e/../e/top | image: ./e/../e/../d/mid | image: ./e/../e/../d/base | image: d/link | image: d/../d/mid | image: d/../d/base | image: top | image: ../d/mid | image: ../d/base',
    script: String.raw`
      mkdir d e; tsimg create -q -f qcow2 d/base 1M; (cd d; tsimg create -q -f qcow2 -b base -F qcow2 mid)
      tsimg create -q -f qcow2 -b ../d/mid -F qcow2 e/top; ln -s ../e/top d/link
      for p in e/top ./e/../e/top d/link; do tsimg info --backing-chain $p | grep image; done
      cd e; tsimg info --backing-chain top | grep image
    `,
  }),
  shellScene({
    name: 'relative-backing-name-below-a-folder-with-colon',
    kind: 'names',
    expected:
      "image: ./a:x/top | image: ./a:x/base | tsimg: t3: Unknown protocol 'a' | Could not open backing image. | image: t2 | image: ../a:x/base | base | t2 | top",
    script: String.raw`
      mkdir a:x; tsimg create -q -f qcow2 ./a:x/base 1M; tsimg create -q -f qcow2 -b base -F qcow2 ./a:x/top
      tsimg info --backing-chain ./a:x/top | grep image; cd a:x
      tsimg create -q -f qcow2 -b ../a:x/base -F qcow2 t2; tsimg create -q -f qcow2 -b a:x/base -F qcow2 t3; tsimg info --backing-chain t2 | grep image; ls
    `,
  }),
  shellScene({
    name: 'backing-name-with-protocol-from-a-folder',
    kind: 'names',
    expected:
      "backing file: file:b#c?d%41 | tsimg: s/o: Could not open '../b#c?d%41': No such file or directory | Could not open backing image. | tsimg: Could not open 's/o': Could not open 's/o': No such file or directory",
    script: String.raw`
      mkdir s; tsimg create -q -f qcow2 'b#c?d%41' 1M; tsimg create -q -f qcow2 -b 'file:b#c?d%41' -F qcow2 o; tsimg info o | grep 'backing file:'
      tsimg create -q -f qcow2 -b 'file:../b#c?d%41' -F qcow2 s/o; tsimg info --backing-chain s/o | grep image
    `,
  }),
  shellScene({
    name: 'names-with-commas-in-options',
    kind: 'names',
    expected:
      "backing file: a,b | virtual size: 1 MiB (1048576 bytes) | tsimg: warning: short-form boolean option 'b' deprecated | Please use b=on instead | tsimg: Could not open 'driver=qcow2,file.filename=a,b': Could not open 'a': No such file or directory |     data file: d,e | a,b | d,e | o | p",
    script: String.raw`
      tsimg create -q -f qcow2 'a,b' 1M; tsimg create -q -f qcow2 -o 'backing_file=a,,b,backing_fmt=qcow2' o; tsimg info o | grep 'backing file:'
      tsimg info --image-opts 'driver=qcow2,file.filename=a,,b' | grep virtual; tsimg info --image-opts 'driver=qcow2,file.filename=a,b'
      tsimg create -q -f qcow2 -o 'data_file=d,,e,data_file_raw=on' p 1M; tsimg info p | grep 'data file:'; ls
    `,
  }),
  shellScene({
    name: 'empty-names',
    kind: 'names',
    expected:
      "tsimg: : Could not create '': No such file or directory | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: Could not open '': The 'file' block driver requires a file name | tsimg: file:: Could not create '': No such file or directory | tsimg: x: Expected backing file name, got empty string",
    script: String.raw`
      tsimg create -q -f qcow2 '' 1M; tsimg info ''; tsimg convert '' x; tsimg resize '' 1M; tsimg check ''; tsimg map ''; tsimg compare '' ''; tsimg snapshot -l ''
      tsimg create -q -f raw file: 1M; tsimg create -q -f qcow2 -b '' x 1M && tsimg info x | grep -c backing; ls
    `,
  }),
  shellScene({
    name: 'data-file-names-with-space-dash-and-other-bytes',
    kind: 'names',
    expected: 'data file:  s |     data file: M-^?x |     data file: ./-d |     data file: zz |  s | -d | o | zz | M-^?x',
    script: String.raw`
      for n in ' s' $'\377x' ./-d file:zz; do rm -f o; tsimg create -q -f qcow2 -o "data_file=$n" o 1M; tsimg info o | grep -a 'data file:'; done; ls
    `,
  }),
  shellScene({
    name: 'data-file-name-of-an-unknown-protocol',
    kind: 'names',
    expected:
      "tsimg: o: Unknown protocol 'd' | tsimg: o: Could not create '': No such file or directory | tsimg: Could not open 'o': Could not open 'o': No such file or directory | stat: cannot statx 'o': No such file or directory",
    script: String.raw`
      tsimg create -q -f qcow2 -o data_file=d:e o 1M; tsimg create -q -f qcow2 -o data_file= o 1M; tsimg info o; stat -c %n o
    `,
  }),
  shellScene({
    name: 'json-of-names-that-are-no-utf-8',
    kind: 'names',
    expected:
      '"filename": "\\u0000", |     "filename": "\\uFFFD", |     "filename": "\\uFFFD", |     "filename": "\\uFFFD", |     "filename": "\\uFFFD", |     "filename": "\\uFFFDx", |     "filename": "\\uFFFD\\uFFFD", |     "filename": "\\uFFFD\\uFFFD", |     "filename": "\\uFFFD", |     "filename": "\\uFFFD\\u00A0",',
    script: String.raw`
      for n in $'\xc0\x80' $'\xe0\x80\x80' $'\xf4\x90\x80\x80' $'\xfc\x84\x80\x80\x80\x80' $'\xef\xbf\xbe' $'\xe2\x82x' $'\xed\xa0\xbd\xed\xb8\x80' $'\x80\x80' $'\xfe' $'\xc2\xc2\xa0'; do
        tsimg create -q -f raw "$n" 1k; tsimg info --output=json -f raw "$n" | grep -a '^    "filename'
      done
    `,
  }),
  shellScene({
    name: 'errors-about-names-that-are-no-utf-8',
    kind: 'names',
    expected:
      "tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | Formatting 'M-^?/x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16 | tsimg: M-^?/x: Could not create 'M-^?/x': No such file or directory | tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | tsimg: Could not open 'M-^?': Could not open 'M-^?': No such file or directory | tsimg: x: Unknown file format 'qM-^?' | tsimg: x: Invalid parameter 'qM-^?'",
    script: String.raw`
      n=$'\377'
      tsimg info "$n"; tsimg compare "$n" "$n"; tsimg convert "$n" out; tsimg create -f qcow2 "$n/x" 1M; tsimg check "$n"; tsimg map "$n"; tsimg resize "$n" 1; tsimg create -f "q$n" x 1M; tsimg create -f qcow2 -o "q$n=1" x 1M
    `,
  }),
  shellScene({
    name: 'composed-and-decomposed-letters-are-two-names',
    kind: 'names',
    expected:
      "tsimg: Could not open 'eM-LM-^A': Could not open 'eM-LM-^A': No such file or directory | virtual size: 1 MiB (1048576 bytes) | virtual size: 2 MiB (2097152 bytes) | virtual size: 3 MiB (3145728 bytes)",
    script: String.raw`
      tsimg create -q -f qcow2 $'\xc3\xa9' 1M; tsimg info $'e\xcc\x81'; tsimg create -q -f qcow2 $'e\xcc\x81' 2M; tsimg create -q -f qcow2 $'\xef\xbb\xbfa' 3M
      for n in $'\xc3\xa9' $'e\xcc\x81' $'\xef\xbb\xbfa'; do tsimg info "$n" | grep virtual; done
    `,
  }),
  shellScene({
    name: 'node-names-in-image-options',
    kind: 'names',
    expected:
      "tsimg: Could not open 'driver=qcow2,node-name=a b,file.filename=a=b': Invalid node-name: 'a b' | tsimg: Could not open 'driver=qcow2,node-name=1a,file.filename=a=b': Invalid node-name: '1a' | tsimg: Could not open 'driver=qcow2,node-name=#block1,file.filename=a=b': Invalid node-name: '#block1' | tsimg: Could not open 'driver=qcow2,node-name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,file.filename=a=b': Node name too long | tsimg: Could not open 'driver=qcow2,node-name=M-CM-),file.filename=a=b': Invalid node-name: 'M-CM-)' | virtual size: 1 MiB (1048576 bytes)",
    script: String.raw`
      tsimg create -q -f qcow2 a=b 1M
      for n in 'a b' 1a '#block1' $(printf 'a%.0s' {1..32}) $'\xc3\xa9'; do tsimg info --image-opts "driver=qcow2,node-name=$n,file.filename=a=b"; done
      tsimg info --image-opts "driver=qcow2,node-name=$(printf 'a%.0s' {1..31}),file.filename=a=b" | grep virtual
    `,
  }),
  shellScene({
    name: 'backing-name-with-newline-that-ends-at-a-nul',
    kind: 'names',
    expected: "backing file: b |  | tsimg: Could not open 'o': Could not open backing file: Could not open 'b | ': No such file or directory",
    script: String.raw`
      tsimg create -q -f qcow2 base 1M; tsimg create -q -f qcow2 -b base -F qcow2 o
      at=$(grep -abo 'base' o | tail -n 1 | cut -d : -f 1); printf 'b\n\0e' | dd of=o bs=1 seek=$at conv=notrunc status=none
      tsimg info o | grep -A 1 'backing file:'; tsimg map o
    `,
  }),
];
export default faults;
