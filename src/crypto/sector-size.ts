/** Bytes of a sector that is enciphered for itself. */
export const cryptoSector = 512;
