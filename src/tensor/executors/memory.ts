/** Memory of large arrays that nobody needs any more, given back before V8 would think of it. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Work on so many bytes takes a second; a collection, some hundredths of one. */
const large = 64e6;

let collect: (() => void) | undefined;

/**
 * V8 collects when its own heap has grown, and a thread that works on large vectors in native code lets it rest: gigabytes
 * of what was there before would still be there.
 *
 * @param bytes of what is about to be worked on
 */
export function makeRoomFor(bytes: number): void {
  if (bytes < large) return;
  collect ??= withFlag<() => void>("--expose-gc", "gc");
  collect();
}

type Transfer = (this: ArrayBuffer, length: number) => ArrayBuffer;

/** Standard since Node 22. */
let transfer = (ArrayBuffer.prototype as { transfer?: Transfer }).transfer;

/** At once: arrays that lie in it have no elements any more. What other threads may read stays. */
export function free(buffer: ArrayBufferLike): void {
  if (!(buffer instanceof ArrayBuffer)) return;
  transfer ??= withFlag<Transfer>("--harmony-rab-gsab-transfer", "ArrayBuffer.prototype.transfer");
  transfer.call(buffer, 0);
}

/** What V8 has behind a flag, taken from a realm that is made after the flag was set. */
function withFlag<What>(flag: string, expression: string): What {
  setFlagsFromString(flag);
  return runInNewContext(expression) as What;
}
