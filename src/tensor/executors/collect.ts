/** Memory of large arrays that nobody needs any more. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Work on so many bytes takes a second; a collection, some hundredths of one. */
const large = 64e6;

let collect: (() => void) | undefined;

/**
 * V8 collects when its own heap has grown, and a thread that works on large vectors in native code lets it rest: gigabytes
 * of what the last steps left would still be there during the next.
 *
 * @param bytes of what is about to be worked on
 */
export function makeRoomFor(bytes: number): void {
  if (bytes < large) return;
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
