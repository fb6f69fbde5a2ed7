/* Command lines about devices, drives for discs and windows of raw media, as far as every machine has them. */
import type { ImgCase } from './img-harness.ts';

const inWindow = (window: string): string => `--image-opts driver=raw,${window},file.driver=file,file.filename=r.raw`;

export const deviceCases: readonly ImgCase[] = [
  'info host_cdrom:/dev/null',
  'info -f host_cdrom /dev/null',
  'info --output=json --limits --image-opts driver=raw,file.driver=host_cdrom,file.filename=/dev/null',
  'info host_device:/dev/null',
  'info --image-opts driver=host_cdrom,filename=r.raw',
  'info --image-opts driver=host_cdrom',
  'info --image-opts driver=host_cdrom,filename=/dev/null,nope=1',
  'info --image-opts driver=host_cdrom,filename=/dev/null,aio=native',
  'info host_cdrom:nix',
  'info host_cdrom:r.raw',
  'info host_cdrom:.',
  'info --image-opts driver=host_device,filename=r.raw',
  'info --image-opts driver=file,filename=/dev/null',
  'convert -O raw host_cdrom:/dev/null out',
  'map host_cdrom:/dev/null',
  'map --output=json host_cdrom:/dev/null',
  'dd if=host_cdrom:/dev/null of=out',
  'compare host_cdrom:/dev/null r.raw',
  'compare r.raw host_cdrom:/dev/null',
  'resize -f raw host_cdrom:/dev/null 8M',
  'measure -O raw host_cdrom:/dev/null',
  'check host_cdrom:/dev/null',
  'convert -n -O raw r.raw host_cdrom:/dev/null',
  'create -f host_cdrom nix 1M',
  ...['offset=1M', 'offset=1M,size=1M', 'offset=5M', 'offset=1,size=512', 'offset=1M,size=513', 'size=0', 'offset=4M', 'size=5M', 'offset=1M,size=4M'].flatMap(
    (window) => [`info ${inWindow(window)}`, `map --output=json ${inWindow(window)}`],
  ),
  ...['offset=-1', 'size=-1', 'offset=x', 'size=9999999999999999999'].map((window) => `info ${inWindow(window)}`),
  `convert -O raw ${inWindow('offset=1M,size=1M')} out`,
  `resize ${inWindow('offset=1M')} 8M`,
  `resize ${inWindow('offset=1M,size=1M')} 2M`,
].map((line) => ({ line, files: 'content' }));
