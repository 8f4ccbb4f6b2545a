/**
 * Memory in huge pages, where Linux gives them to whoever asks.
 *
 * A training step walks through tens of megabytes of activations, and on small pages a tenth of its time goes into looking
 * addresses up. glibc asks for huge pages when `GLIBC_TUNABLES` says so as the process starts, and not later: so the
 * command starts itself once more, in place, with the same process number, streams and signals.
 * https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html
 */
import { readFileSync } from "node:fs";

const tunable = "glibc.malloc.hugetlb=1";

/** What decides; the process's own, unless a test says otherwise. */
export interface HugePageFacts {
  /** The kernel's setting, or null where it has none. */
  readonly setting: "always" | "madvise" | "never" | null;
  /** `GLIBC_TUNABLES`. */
  readonly tunables: string | undefined;
  /** Whether Node can replace the process: from 22.15 and 23.11, on POSIX. */
  readonly replaces: boolean;
}

function factsHere(): HugePageFacts {
  return {
    setting: kernelSetting(),
    tunables: process.env.GLIBC_TUNABLES,
    replaces: typeof process.execve === "function",
  };
}

/** The file names all settings, the present one in brackets. */
function kernelSetting(): HugePageFacts["setting"] {
  try {
    const text = readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8");
    return (/\[(always|madvise|never)\]/.exec(text)?.[1] ?? null) as HugePageFacts["setting"];
  } catch {
    return null;
  }
}

/** @internal A user's own tunables are left alone. */
export const wantsRestart = ({ setting, tunables, replaces }: HugePageFacts): boolean =>
  setting === "madvise" && tunables === undefined && replaces;

/** Whether memory is in huge pages, and what to do about it. */
export function describeHugePages(facts: HugePageFacts = factsHere()): {
  readonly ok: boolean;
  readonly found: string;
} {
  const { setting, tunables } = facts;
  if (setting === null) return { ok: true, found: "left to this system" };
  if (setting === "always") return { ok: true, found: "always" };
  if (setting === "never") return { ok: false, found: "switched off in /sys/kernel/mm/transparent_hugepage/enabled" };
  if (tunables?.split(":").includes(tunable)) return { ok: true, found: `asked for by GLIBC_TUNABLES=${tunables}` };
  return { ok: false, found: `not asked for: with GLIBC_TUNABLES=${tunable} a training step takes about a tenth less` };
}

/** Starts this process again with huge pages, if that helps; then it does not return. Call it before anything is open. */
export function restartWithHugePages(): void {
  if (!wantsRestart(factsHere())) return;
  const words = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, words, { ...process.env, GLIBC_TUNABLES: tunable });
}
