/**
 * Ctrl-C, `kill` and a closing terminal end long work cleanly; asked again, they end it at once, whatever it does. Where
 * nobody listens they end it at the first word. Nothing unfinished stays on the disk either way. The main thread may be the
 * one that is stuck, so a thread of its own hears signals: see `signal-thread.ts`.
 */
import { constants } from "node:os";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { onDrafts, type Part, removeParts } from "../../base/disk.ts";
import { moduleUrl } from "../../base/places.ts";

export const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A terminal and the launcher in between may both pass on one Ctrl-C; what comes this soon is the same one. */
export const echoMs = 500;

/** Real milliseconds after which a main thread that does not even hear a signal is ended by it. */
export const patienceMs = 20_000;

/** From the thread that hears. */
export type Heard = "hears" | "listening" | { readonly signal: NodeJS.Signals };

/** To the thread that hears; what is unfinished, too. */
export type Order = "listen" | "heard" | "stop" | Leaving | readonly Part[];

/** What is left to do and to say when the process is ended at once. */
export interface Leaving {
  readonly words: string;
  /** The `run.json` that shall not go on saying that its run is running. */
  readonly record: string | null;
  /** Processes that shall not outlive this one. */
  readonly processes: readonly number[];
  /** Whether nothing is done yet that is worth waiting for at the first signal, while a model is converted, perhaps. */
  readonly atOnce: boolean;
}

export const nothingMore: Leaving = { words: "ended at once", record: null, processes: [], atOnce: false };

export interface Listening {
  /** The exit code, once there was a signal; it is known here before `stop` is called. */
  exitCode(): number | null;
  leave(what: Pick<Leaving, "words"> & Partial<Leaving>): void;
  takeAlong(process: number): void;
  deafen(): void;
}

let hearing: Worker | null = null;

/** How the thread stands: it does not hear yet, hears, never will, or is ending the process. */
export const standing = { starts: 0, hears: 1, deaf: 2, ending: 3 } as const;

/** Shared, for work that lets no message in: the number of the signal that was heard, 0 for none, and the thread's standing. */
const shared = new Int32Array(new SharedArrayBuffer(8));

let drafts: readonly Part[] = [];

/** From the first draft on a signal removes what is unfinished before it ends the process, whatever the main thread does. */
export function leaveNoDrafts(): void {
  onDrafts((parts) => {
    drafts = parts;
    // Not where that thread is ending the process: its signal would go to a handler here, and this thread waits.
    if (shared[1] === standing.starts || shared[1] === standing.deaf) hearHere();
    if (shared[1] !== standing.deaf) tell(parts);
    // What would be begun now, nobody would remove.
    Atomics.wait(shared, 1, standing.ending);
  });
}

function tell(parts: readonly Part[]): void {
  try {
    hearing ??= startThread();
    hearing.postMessage(parts);
  } catch {
    shared[1] = standing.deaf;
  }
}

/** As well as the main thread can, until the other hears. */
function hearHere(): void {
  // Who stops hearing for a moment misses what comes in it.
  if (process.listeners("SIGINT").includes(endHere)) return;
  for (const signal of signals) process.on(signal, endHere);
}

/** A signal that came before is told of within two turns of the event loop. */
async function hearThere(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  hearNoMore();
}

function hearNoMore(): void {
  for (const signal of signals) process.off(signal, endHere);
}

function endHere(signal: NodeJS.Signals): void {
  // Somebody else listens.
  if (process.listenerCount(signal) > 1) return;
  removeParts(drafts);
  hearNoMore();
  process.kill(process.pid, signal);
}

/** So that `onInterrupt` waits less for the thread: it starts while something else is done, and does not hear yet. */
export function startToHear(): void {
  try {
    hearing ??= startThread();
  } catch {
    // Whoever needs it will see.
  }
}

/**
 * Calls `stop` at the first signal, with the exit code that shells give to it. Once this has resolved, no signal is lost.
 */
export async function onInterrupt(stop: (exitCode: number) => void): Promise<Listening> {
  try {
    return await listenApart(stop);
  } catch {
    // No thread to be had, or a Node that has other insides: then as well as the main thread can.
    return listenHere(stop);
  }
}

const exitCodeOf = (signal: number): number => 128 + signal;

async function listenApart(stop: (exitCode: number) => void): Promise<Listening> {
  const thread = hearing ?? startThread();
  let leaving = nothingMore;
  thread.ref();
  let isListening = () => {};
  const hear = (heard: Heard) => {
    if (heard === "listening") isListening();
    if (typeof heard === "string") return;
    thread.postMessage("heard");
    stop(exitCodeOf(constants.signals[heard.signal]));
  };
  await new Promise<void>((resolve, reject) => {
    isListening = () => {
      thread.off("error", reject);
      resolve();
    };
    thread.once("error", reject);
    thread.on("message", hear);
    thread.postMessage("listen");
  });
  await hearThere();
  thread.unref();
  const leave = (more: Partial<Leaving>) => {
    leaving = { ...leaving, ...more };
    thread.postMessage(leaving);
  };
  return {
    exitCode: () => (shared[0] === 0 ? null : exitCodeOf(shared[0]!)),
    leave,
    takeAlong: (process) => leave({ processes: [...leaving.processes, process] }),
    deafen() {
      thread.off("message", hear);
      thread.postMessage("stop");
    },
  };
}

function startThread(): Worker {
  const file = moduleUrl("src/cli/screen/signal-thread");
  // What loads `.ts` for this thread loads it for that one.
  const loader = extname(file.pathname) === ".ts" ? process.execArgv : [];
  const thread = new Worker(file, {
    workerData: shared,
    execArgv: [...loader, "--expose-internals", "--no-warnings"],
  });
  thread.on("message", (heard: Heard) => void (heard === "hears" && hearThere()));
  // One that has failed is not asked again.
  thread.on("error", () => {
    hearing = null;
  });
  // Only what is waited for keeps the process alive.
  thread.unref();
  hearing = thread;
  return thread;
}

/** A second signal is heard between two events only. */
function listenHere(stop: (exitCode: number) => void): Listening {
  let first: { readonly exitCode: number; readonly at: number } | null = null;
  const interrupt = (signal: NodeJS.Signals) => {
    if (first === null) {
      first = { exitCode: exitCodeOf(constants.signals[signal]), at: performance.now() };
      stop(first.exitCode);
    } else if (performance.now() - first.at > echoMs) {
      deafen();
      // As if nobody had listened: an orderly exit would abort where a worker is in native code.
      process.kill(process.pid, signal);
    }
  };
  const deafen = () => {
    for (const signal of signals) process.off(signal, interrupt);
  };
  for (const signal of signals) process.on(signal, interrupt);
  return { exitCode: () => first?.exitCode ?? null, leave() {}, takeAlong() {}, deafen };
}
