/** Processes of this machine: others, and what this one may still use. */
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";

/** Whether a process has this number; it need not be the one that once had it. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, and belongs to someone else.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Bytes of addresses that this process may still use: a limit on them ends native code without a word.
 *
 * @returns infinitely many where there is no limit, or where the system does not tell
 */
export function addressesLeft(): number {
  const limit = Number(/^Max address space +(\d+)/m.exec(factsOf("limits"))?.[1] ?? Number.POSITIVE_INFINITY);
  const used = Number(/^VmSize:\s+(\d+) kB/m.exec(factsOf("status"))?.[1] ?? 0) * 1_024;
  return limit - used;
}

/** Most bytes of memory that this process ever had. What `getrusage` says begins, on Linux, with what its parent had. */
export function peakMemory(): number {
  const peak = /^VmHWM:\s+(\d+) kB/m.exec(factsOf("status"))?.[1];
  return 1_024 * Number(peak ?? process.resourceUsage().maxRSS);
}

/**
 * How much of that counts more than once: each worker maps the base weights. Linux takes 20 ms for each GB to tell.
 *
 * @param smaps of a process, as Linux tells them
 * @returns bytes by which its files take more memory than they are long
 */
export function mappedAgain(smaps: string = factsOf("smaps")): number {
  const files = new Map<string, { resident: number; length: number }>();
  let file: { resident: number; length: number } | undefined;
  for (const line of smaps.split("\n")) {
    const [, from, to, offset, name] = /^([\da-f]+)-([\da-f]+) \S+ ([\da-f]+) (\S+ \d+)/.exec(line) ?? [];
    if (name !== undefined) {
      file = name.endsWith(" 0") ? undefined : (files.get(name) ?? { resident: 0, length: 0 });
      if (file === undefined) continue;
      files.set(name, file);
      const [first, end, at] = [from!, to!, offset!].map((digits) => Number.parseInt(digits, 16)) as [
        number,
        number,
        number,
      ];
      file.length = Math.max(file.length, at + end - first);
    } else if (file !== undefined) {
      file.resident += 1_024 * Number(/^Rss:\s+(\d+) kB/.exec(line)?.[1] ?? 0);
    }
  }
  return [...files.values()].reduce((sum, { resident, length }) => sum + Math.max(0, resident - length), 0);
}

/** Of this process, as Linux has them. */
function factsOf(name: "limits" | "status" | "smaps"): string {
  try {
    return readFileSync(`/proc/self/${name}`, "utf8");
  } catch {
    return "";
  }
}

/** Bytes of memory that this process may use: all there are, or what its container allows. */
export const machineMemory = (): number =>
  Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
