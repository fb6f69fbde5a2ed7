/* Where an NBD server listens. Types only: who names an address needs no sockets. */

export type NbdAddress =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'inet'; readonly host: string; readonly port: string }
  /** A socket that listens already and was handed to us. */
  | { readonly type: 'fd'; readonly fd: number };
