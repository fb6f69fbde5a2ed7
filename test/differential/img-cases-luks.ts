/*
 * Command lines on encrypted images: the format luks, LUKS and AES inside qcow2, secrets, key slots. Data for
 * img-luks.test.ts, over images that `luksFixture` makes once: salts differ from run to run, so what is made is compared by
 * its length, and what is opened by its data.
 */
import type { ImgCase } from './img-harness.ts';

/** Secrets by the words that tests use for them. */
const secrets: Readonly<Record<string, string>> = {
  S: '--object secret,id=s,data=abc',
  N: '--object secret,id=n,data=new',
  W: '--object secret,id=w,data=wrong',
};

const luks = (key = 's', more = ''): string => `driver=luks,key-secret=${key},file.filename=l.luks${more}`;
const qcow2 = (key = 's', file = 'lq.qcow2', more = ''): string => `driver=qcow2,encrypt.key-secret=${key},file.filename=${file}${more}`;

const withSecrets = (line: string): string => line.replace(/@([A-Z]+)/g, (_, letters: string) => [...letters].map((letter) => secrets[letter]).join(' '));

export const luksFixture: readonly string[] = [
  'qemu-img create -q @S -f luks -o key-secret=s,iter-time=10 l.luks 1M',
  'qemu-img create -q @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 lq.qcow2 1M',
  'qemu-img create -q @S -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s ae.qcow2 1M',
  `qemu-io @S --image-opts -c 'write -P 7 100k 200k' ${qcow2()}`,
  `qemu-io @S --image-opts -c 'write -P 8 100k 200k' ${qcow2('s', 'ae.qcow2')}`,
  `qemu-io @S --image-opts -c 'write -P 9 0 1M' ${luks()}`,
  'qemu-img create -q -f raw nine.raw 1M',
  "qemu-io -f raw -c 'write -P 9 0 1M' nine.raw",
].map(withSecrets);

const reading = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line: withSecrets(line), readsOnly: true }));
/** What is written is compared by its length. */
const making = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line: withSecrets(line), files: 'size' }));
const refused = (lines: readonly string[]): ImgCase[] => lines.map((line) => ({ line: withSecrets(line) }));

const looks = reading([
  'info l.luks',
  'info --output=json l.luks',
  'info --limits l.luks',
  'info -f luks l.luks',
  'info lq.qcow2',
  'info --output=json lq.qcow2',
  'info --limits --output=json lq.qcow2',
  'info ae.qcow2',
  `info ${'--image-opts'} driver=luks,file.filename=l.luks`,
  `info @S --image-opts ${luks()}`,
  `info @S --image-opts ${qcow2()}`,
  'info -f luks a.qcow2',
  'info -f luks r.raw',
  'info -f raw l.luks',
  'info --image-opts driver=luks,file.filename=l.luks,key-secret=nope',
  'info --image-opts driver=qcow2,file.filename=lq.qcow2,encrypt.format=aes',
  'info --image-opts driver=qcow2,file.filename=lq.qcow2,encrypt.format=luks',
  'info --image-opts driver=qcow2,file.filename=ae.qcow2,encrypt.format=luks',
  'info --image-opts driver=qcow2,file.filename=a.qcow2,encrypt.format=luks',
  'info --image-opts driver=qcow2,file.filename=a.qcow2,encrypt.key-secret=s',
  'info --image-opts driver=luks,file.filename=l.luks,foo=bar',
  `map @S --image-opts ${luks()}`,
  `map --output=json @S --image-opts ${luks()}`,
  `map @S --image-opts ${qcow2()}`,
  `map --output=json @S --image-opts ${qcow2()}`,
  `map --output=json @S --image-opts ${qcow2('s', 'ae.qcow2')}`,
  'map l.luks',
  'map lq.qcow2',
  'map ae.qcow2',
  `map @W --image-opts ${luks('w')}`,
  `map @W --image-opts ${qcow2('w')}`,
  `map @S --image-opts ${luks('nope')}`,
  `map --object secret,id=b,data=/w==,format=base64 --image-opts ${luks('b')}`,
  `map --object throttle-group,id=t --image-opts ${luks('t')}`,
  `map --output=json --object secret,id=b,data=YWJj,format=base64 --image-opts ${luks('b')}`,
  `map --output=json --object '{"qom-type":"secret","id":"j","data":"abc"}' --image-opts ${luks('j')}`,
  'check l.luks',
  'check lq.qcow2',
  'check ae.qcow2',
  `check @S --image-opts ${luks()}`,
  `check @S --image-opts ${qcow2()}`,
  `check --output=json @S --image-opts ${qcow2()}`,
  `check @W --image-opts ${qcow2('w')}`,
  'compare l.luks nine.raw',
  `compare @S --image-opts ${luks()} driver=raw,file.filename=nine.raw`,
  `compare @S --image-opts ${luks()} ${qcow2()}`,
  `compare @S --image-opts ${qcow2()} ${qcow2('s', 'ae.qcow2')}`,
  'convert -f luks l.luks x',
  'convert lq.qcow2 x',
  `convert @W --image-opts ${luks('w')} -O raw x`,
  'snapshot -l lq.qcow2',
]);

const data: readonly ImgCase[] = [
  `convert @S --image-opts ${luks()} -O raw x`,
  `convert @S --image-opts ${qcow2()} -O raw x`,
  `convert @S --image-opts ${qcow2('s', 'ae.qcow2')} -O raw x`,
  `convert @S --image-opts ${qcow2()} -O qcow2 x`,
].map((line) => ({ line: withSecrets(line) }));

const makes = making([
  'create @S -f luks -o key-secret=s,iter-time=10 x 1M',
  'create @S -q -f luks -o key-secret=s,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv x 1M',
  'create @S -f luks -o key-secret=s,iter-time=10,detached-header=on x 1M',
  'create @S -f luks -o key-secret=s,iter-time=10,preallocation=metadata x 1M',
  'create @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,cluster_size=4k x 1M',
  'create @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,preallocation=metadata x 1M',
  'convert @S -O luks -o key-secret=s,iter-time=10 r.raw x',
  'convert @S -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a.qcow2 x',
  `convert -n @S -f raw nine.raw --target-image-opts ${luks()}`,
  `resize @S --image-opts ${luks()} 2M`,
  `resize --shrink @S --image-opts ${luks()} 512k`,
  `resize @S --image-opts ${qcow2()} 8M`,
  `amend @SN -o state=active,new-secret=n,iter-time=10 --image-opts ${luks()}`,
  `amend -p @SN -o state=active,new-secret=n,iter-time=10,keyslot=7 --image-opts ${luks()}`,
  `amend -p @SN -o encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=10 --image-opts ${qcow2()}`,
  `amend @SN --force -o state=active,new-secret=n,iter-time=10,keyslot=0 --image-opts ${luks()}`,
  `amend @S --force -o state=inactive,keyslot=0 --image-opts ${luks()}`,
]);

/** Nothing random about them. */
const exact: readonly ImgCase[] = [
  'create @S -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s x 1M',
  'create @S -f qcow2 -o encryption=on,encrypt.key-secret=s x 1M',
  'create @S -f qcow2 -o encryption=on,encrypt.key-secret=s,compat=0.10,preallocation=metadata x 1M',
  'create -f luks -o help',
  'create -f luks -o help x',
  'amend -f luks -o help',
  `amend @S -o help --image-opts ${luks()}`,
].map((line) => ({ line: withSecrets(line) }));

const slots = refused([
  `amend @SN -o state=active,new-secret=n,keyslot=0 --image-opts ${luks()}`,
  `amend @SN -o state=active,new-secret=n,keyslot=8 --image-opts ${luks()}`,
  `amend @SN -o state=active,new-secret=n,keyslot=4294967295 --image-opts ${luks()}`,
  `amend @SN -o state=active,new-secret=n,keyslot=-1 --image-opts ${luks()}`,
  `amend @SN -o state=inactive,keyslot=-1 --image-opts ${luks()}`,
  `amend @SN -o state=active,new-secret=n,keyslot=99999999999999999999 --image-opts ${luks()}`,
  `amend @SN -o state=active,new-secret=n,old-secret=s --image-opts ${luks()}`,
  `amend @S -o state=active --image-opts ${luks()}`,
  `amend @S -o state=active,new-secret=nope --image-opts ${luks()}`,
  `amend @S -o state=foo --image-opts ${luks()}`,
  `amend @S -o keyslot=1 --image-opts ${luks()}`,
  `amend @S -o state=inactive --image-opts ${luks()}`,
  `amend @SN -o state=inactive,new-secret=n --image-opts ${luks()}`,
  `amend @S -o state=inactive,iter-time=3,keyslot=1 --image-opts ${luks()}`,
  `amend @S -o state=inactive,keyslot=5 --image-opts ${luks()}`,
  `amend @S -o state=inactive,keyslot=50 --image-opts ${luks()}`,
  `amend @S -o state=inactive,keyslot=0 --image-opts ${luks()}`,
  `amend @S -o state=inactive,old-secret=s --image-opts ${luks()}`,
  `amend @SW -o state=inactive,old-secret=w --image-opts ${luks()}`,
  `amend @SW -o state=inactive,keyslot=0,old-secret=w --image-opts ${luks()}`,
  `amend @S -o cipher-alg=aes-128 --image-opts ${luks()}`,
  `amend @S -o foo=bar --image-opts ${luks()}`,
  `amend @S -o key-secret=s --image-opts ${luks()}`,
  `amend @WN -o state=active,new-secret=n --image-opts ${luks('w')}`,
  'amend -f luks -o state=active l.luks',
  'amend -o encrypt.state=active lq.qcow2',
  `amend @SN -o encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=0 --image-opts ${qcow2()}`,
  `amend @S -o encrypt.state=inactive,encrypt.keyslot=0 --image-opts ${qcow2()}`,
  `amend @S -o encrypt.keyslot=1 --image-opts ${qcow2()}`,
  `amend @S -o encrypt.state=nope --image-opts ${qcow2()}`,
  `amend @S -o encrypt.format=aes --image-opts ${qcow2()}`,
  `amend @S -o encrypt.state=active --image-opts ${qcow2('s', 'ae.qcow2')}`,
  'amend -o encrypt.state=active a.qcow2',
]);

const creation = refused([
  'create -f luks x 1M',
  'create -f luks -o key-secret=s x 1M',
  'create @S -f luks -o key-secret=s x',
  'create @S -f luks -o key-secret=s,cipher-alg=foo x 1M',
  'create @S -f luks -o key-secret=s,cipher-mode=foo x 1M',
  'create @S -f luks -o key-secret=s,ivgen-alg=foo x 1M',
  'create @S -f luks -o key-secret=s,ivgen-hash-alg=foo x 1M',
  'create @S -f luks -o key-secret=s,hash-alg=foo x 1M',
  'create @S -f luks -o key-secret=s,iter-time=foo x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=des x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=3des,cipher-mode=cbc x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=sm4 x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=sm4,cipher-mode=ctr x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=sm4,cipher-mode=ecb,ivgen-alg=essiv x 1M',
  'create @S -f luks -o key-secret=s,cipher-alg=cast5-128 x 1M',
  'create @S -f luks -o key-secret=s,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1 x 1M',
  'create @S -f luks -o key-secret=s,ivgen-alg=essiv,ivgen-hash-alg=sha512 x 1M',
  'create @S -f luks -o key-secret=s,preallocation=foo x 1M',
  'create @S -f luks -o key-secret=s,detached-header=foo x 1M',
  'create @S -f luks -b a.qcow2 -F qcow2 -o key-secret=s x 1M',
  'create @S -f luks -o key-secret=s,foo=bar x 1M',
  'create --object secret,id=b,data=/w==,format=base64 -f luks -o key-secret=b x 1M',
  'create @S -f qcow2 -o encrypt.format=luks x 1M',
  'create @S -f qcow2 -o encrypt.format=foo,encrypt.key-secret=s x 1M',
  'create @S -f qcow2 -o encrypt.key-secret=s x 1M',
  'create -f qcow2 -o encrypt.format=aes x 1M',
  'create -f qcow2 -o encryption=on x 1M',
  'create -f qcow2 -o encryption=on,encrypt.format=luks,encrypt.key-secret=s x 1M',
  'create @S -f qcow2 -o encryption=on,encrypt.format=aes,encrypt.key-secret=s x 1M',
  'create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=nope x 1M',
  'create -f qcow2 -o encrypt.format=aes,encrypt.key-secret=nope x 1M',
  'create @S -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128 x 1M',
  'create @S -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s,encrypt.iter-time=5 x 1M',
  'create @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=foo x 1M',
  'create @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo,cluster_size=3 x 1M',
  'create @S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=des x 1M',
  'convert @S -O luks -o key-secret=nope r.raw x',
  'convert -O luks r.raw x',
  'convert @S -c -O luks -o key-secret=s r.raw x',
  'convert @S -c -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s a.qcow2 x',
  `resize --preallocation=metadata @S --image-opts ${luks()} 2M`,
  `resize @S --image-opts ${luks()} 512k`,
  `resize -f luks l.luks 2M`,
]);

export const luksCases: readonly ImgCase[] = [...looks, ...data, ...makes, ...exact, ...slots, ...creation];
