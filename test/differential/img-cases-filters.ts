/* Command lines over filters: what they show, what goes through them, and what is refused. */
import type { ImgCase } from './img-harness.ts';

const compress = 'driver=compress,file.driver=qcow2,file.file.filename=';

const copyOnRead = 'driver=copy-on-read,file.driver=qcow2,file.file.filename=';

const copyOnReadCases: readonly string[] = [
  `info --image-opts ${copyOnRead}a.qcow2`,
  'info -f copy-on-read a.qcow2',
  'info copy-on-read:a.qcow2',
  `convert --image-opts -O raw ${copyOnRead}o.qcow2 out`,
  `convert -n --target-image-opts a.qcow2 ${copyOnRead}o.qcow2`,
  `convert -c -n --target-image-opts a.qcow2 ${copyOnRead}empty.qcow2`,
  `convert -c -n --target-image-opts r.raw driver=compress,file.driver=copy-on-read,file.file.driver=qcow2,file.file.file.filename=empty.qcow2`,
  `resize --image-opts ${copyOnRead}a.qcow2 8M`,
];

const compressCases: readonly string[] = [
  `info --image-opts ${compress}a.qcow2`,
  `info --output=json --limits --image-opts ${compress}a.qcow2`,
  `info --backing-chain --image-opts ${compress}top.qcow2`,
  `info --image-opts driver=compress,file.driver=raw,file.file.filename=r.raw`,
  `info json:{"driver":"compress","file":{"driver":"qcow2","file":{"driver":"file","filename":"o.qcow2"}}}`,
  'info json:{"driver":"compress","file":"x"}',
  'info -f compress a.qcow2',
  'info compress:a.qcow2',
  'info raw:a.qcow2',
  `map --image-opts ${compress}top.qcow2`,
  `map --output=json --image-opts ${compress}comp.qcow2`,
  `check --image-opts ${compress}a.qcow2`,
  `snapshot -l --image-opts ${compress}s.qcow2`,
  `compare --image-opts ${compress}o.qcow2 driver=qcow2,file.filename=o.qcow2`,
  `convert --image-opts -O raw ${compress}top.qcow2 out`,
  `resize --image-opts ${compress}a.qcow2 8M`,
  `convert -n --target-image-opts r.raw ${compress}empty.qcow2`,
  `convert -n --target-image-opts a.qcow2 ${compress}empty.qcow2`,
  `convert -n --target-image-opts a.qcow2 ${compress}odd.qcow2`,
  `convert -c -n --target-image-opts r.raw ${compress}empty.qcow2`,
  'create -f qcow2 compress:b.qcow2 1M',
  'create -f compress b.qcow2 1M',
  'convert -O compress a.qcow2 b.qcow2',
  'convert -O qcow2 a.qcow2 compress:b.qcow2',
  'measure -O compress a.qcow2',
];

const group = '--object throttle-group,id=g';
const throttle = 'driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=';

const throttleCases: readonly string[] = [
  `info ${group} --image-opts ${throttle}o.qcow2`,
  `info ${group} --output=json --limits --image-opts ${throttle}top.qcow2`,
  `info ${group} json:{"driver":"throttle","throttle-group":"g","file":{"driver":"qcow2","file":{"driver":"file","filename":"o.qcow2"}}}`,
  `info --image-opts ${throttle}o.qcow2`,
  `info ${group} --image-opts driver=throttle,file.driver=qcow2,file.file.filename=o.qcow2`,
  `info ${group} --image-opts driver=throttle,throttle-group=,file.driver=qcow2,file.file.filename=o.qcow2`,
  `info --object secret,id=g,data=x --image-opts ${throttle}o.qcow2`,
  `info ${group} --image-opts driver=throttle,throttle-group=g`,
  `info ${group} --image-opts driver=throttle,throttle-group=g,file.filename=a.qcow2`,
  `info ${group} --image-opts driver=throttle,throttle-group=g,file.file.filename=a.qcow2`,
  `info ${group} --image-opts driver=compress,file.driver=throttle,file.throttle-group=g,file.file.filename=a.qcow2`,
  `info ${group} --image-opts driver=compress,file.driver=throttle,file.throttle-group=g,file.file.driver=qcow2,file.file.file.filename=a.qcow2`,
  `info ${group} --image-opts driver=qcow2,file.driver=throttle,file.throttle-group=g,file.file.filename=a.qcow2`,
  'info --image-opts driver=compress,file.filename=a.qcow2',
  'info --image-opts driver=preallocate,file.filename=r.raw',
  'info throttle:a.qcow2',
  'info -f throttle a.qcow2',
  `map ${group} --image-opts ${throttle}o.qcow2`,
  `convert ${group} -O raw --image-opts ${throttle}o.qcow2 out`,
  `convert ${group},limits.bps-total=100000000,limits.iops-total=1000 -O raw --image-opts ${throttle}o.qcow2 out`,
  `convert ${group} -c -n --target-image-opts a.qcow2 ${throttle}empty.qcow2`,
  `convert ${group} -n --target-image-opts a.qcow2 ${throttle}empty.qcow2`,
  `info ${group},limits.iops-total=x --image-opts ${throttle}a.qcow2`,
  `info ${group},limits.iops-total=-1 --image-opts ${throttle}a.qcow2`,
  `info ${group},x-iops-total=-1 --image-opts ${throttle}a.qcow2`,
  `info ${group},limits.iops-size=4096 --image-opts ${throttle}a.qcow2`,
  `info ${group},x-bps-read=5,x-bps-total=7 --image-opts ${throttle}a.qcow2`,
  `resize ${group} --image-opts ${throttle}a.qcow2 8M`,
];

export const filterCases: readonly ImgCase[] = [...compressCases, ...copyOnReadCases, ...throttleCases].map((line) => ({ line, files: 'content' }));
