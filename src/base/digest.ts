/** Content by its digest. */
import { createHash } from "node:crypto";

/** SHA-256 in 64 lower-case hex digits; a string counts as its UTF-8 bytes. */
export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
