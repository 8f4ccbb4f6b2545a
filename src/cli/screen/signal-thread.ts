/**
 * Hears signals on a thread of its own: the main one may be busy for as long as an event takes, in a function of the
 * scenario's author that never returns, or in a write to a terminal that somebody has stopped. See `interrupt.ts`.
 *
 * Node lets only the main thread listen, but every thread has what it listens with. Where a version of Node has it no
 * longer, this thread ends with an error and the main one listens.
 */
import { readFileSync, write } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { writeAtomically } from "../../base/disk.ts";
import { echoMs, type Heard, type Leaving, patienceMs, signals } from "./interrupt.ts";

interface SignalHandle {
  onsignal: () => void;
  start(signal: number): number;
  close(): void;
}

interface Internals {
  internalBinding(name: "signal_wrap"): { readonly Signal: new () => SignalHandle };
}

const { internalBinding } = createRequire(import.meta.url)("internal/test/binding") as Internals;
const { Signal } = internalBinding("signal_wrap");

const heardSignal = workerData as Int32Array;
let handles: SignalHandle[] = [];
let leaving: Leaving = { words: "", record: null, processes: [] };
let first: { readonly signal: NodeJS.Signals; readonly at: number } | null = null;
let patience: NodeJS.Timeout | undefined;

function hear(signal: NodeJS.Signals): void {
  const at = performance.now();
  if (first === null) {
    first = { signal, at };
    heardSignal[0] = constants.signals[signal];
    patience = setTimeout(end, patienceMs, signal);
    parentPort?.postMessage({ signal } satisfies Heard);
  } else if (signal !== first.signal || at - first.at > echoMs) end(signal);
}

function end(signal: NodeJS.Signals): void {
  for (const id of leaving.processes) attempt(() => process.kill(id, "SIGKILL"));
  attempt(leaveRecord);
  // The signal's own action, as if nobody had listened: an orderly exit would wait for the main thread.
  const die = () => {
    for (const handle of handles) handle.close();
    process.kill(process.pid, signal);
  };
  // Whoever reads may have stopped reading, and a write may wait for ever.
  setTimeout(die, 200);
  write(2, `\n${leaving.words}\n`, die);
}

/** A run that is over must not go on saying that it runs. */
function leaveRecord(): void {
  if (leaving.record === null) return;
  const record = JSON.parse(readFileSync(leaving.record, "utf8")) as { state: string };
  if (record.state !== "running") return;
  writeAtomically(leaving.record, `${JSON.stringify({ ...record, state: "interrupted" }, null, 2)}\n`);
}

function attempt(action: () => void): void {
  try {
    action();
  } catch {
    // What matters is that the process ends.
  }
}

parentPort?.on("message", (order: "listen" | "heard" | "stop" | Leaving) => {
  clearTimeout(patience);
  if (order === "listen") {
    first = null;
    heardSignal[0] = 0;
    handles = signals.map((signal) => {
      const handle = new Signal();
      handle.onsignal = () => hear(signal);
      handle.start(constants.signals[signal]);
      return handle;
    });
    parentPort?.postMessage("listening" satisfies Heard);
  } else if (order === "stop") for (const handle of handles.splice(0)) handle.close();
  else if (order !== "heard") leaving = order;
});
