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
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { type Part, removeParts, removeScratch, writeAtomically } from "../../base/disk.ts";
import { echoMs, type Heard, nothingMore, type Order, patienceMs, signals, standing } from "./interrupt.ts";

interface SignalHandle {
  onsignal: () => void;
  start(signal: number): number;
  close(): void;
}

interface Internals {
  internalBinding(name: "signal_wrap"): { readonly Signal: new () => SignalHandle };
}

const shared = workerData as Int32Array;

function signalType() {
  try {
    const { internalBinding } = createRequire(import.meta.url)("internal/test/binding") as Internals;
    return internalBinding("signal_wrap").Signal;
  } catch (error) {
    stand(standing.deaf);
    throw error;
  }
}

function stand(state: number): void {
  Atomics.store(shared, 1, state);
  Atomics.notify(shared, 1);
}

const Signal = signalType();
let handles: SignalHandle[] = [];
let leaving = nothingMore;
/** Whether somebody is to be told of the first signal; without, it ends the process. */
let isListened = false;
/** Null as long as nobody asks to have them removed. */
let drafts: readonly Part[] | null = null;
let first: { readonly signal: NodeJS.Signals; readonly at: number } | null = null;
let patience: NodeJS.Timeout | undefined;

function hear(signal: NodeJS.Signals): void {
  const at = performance.now();
  if (!isListened || leaving.atOnce) end(signal);
  else if (first === null) {
    first = { signal, at };
    shared[0] = constants.signals[signal];
    patience = setTimeout(end, patienceMs, signal);
    parentPort!.postMessage({ signal } satisfies Heard);
  } else if (signal !== first.signal || at - first.at > echoMs) end(signal);
}

function end(signal: NodeJS.Signals): void {
  // The main thread begins nothing new from here on.
  stand(standing.ending);
  for (const id of leaving.processes) attempt(() => process.kill(id, "SIGUSR2"));
  attempt(leaveRecord);
  // The signal's own action, as if nobody had listened: an orderly exit would wait for the main thread.
  const die = () => {
    for (let more = receiveMessageOnPort(parentPort!); more; more = receiveMessageOnPort(parentPort!))
      obey(more.message);
    for (const id of leaving.processes) attempt(() => process.kill(id, "SIGKILL"));
    removeParts(drafts ?? []);
    attempt(() => removeScratch((owner) => owner === process.pid || leaving.processes.includes(owner)));
    for (const handle of handles) handle.close();
    process.kill(process.pid, signal);
    // Where the main thread hears for itself, and is stuck.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), 1_000);
  };
  // Whoever reads may have stopped reading, and a write may wait for ever; other processes leave nothing either if they can.
  setTimeout(die, 200);
  const next = leaving.processes.length === 0 ? die : () => {};
  if (isListened) write(2, `\n${leaving.words}\n`, next);
  else next();
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

function listen(): void {
  if (handles.length > 0) return;
  handles = signals.map((signal) => {
    const handle = new Signal();
    handle.onsignal = () => hear(signal);
    handle.start(constants.signals[signal]);
    return handle;
  });
  stand(standing.hears);
  parentPort!.postMessage("hears" satisfies Heard);
}

function obey(order: Order): void {
  if (isDrafts(order)) {
    drafts = order;
    listen();
    return;
  }
  clearTimeout(patience);
  if (order === "listen") {
    first = null;
    shared[0] = 0;
    isListened = true;
    listen();
    parentPort!.postMessage("listening" satisfies Heard);
  } else if (order === "stop") {
    isListened = false;
    leaving = nothingMore;
    if (drafts !== null) return;
    for (const handle of handles.splice(0)) handle.close();
    stand(standing.starts);
  } else if (order !== "heard") leaving = order;
}

const isDrafts = (order: Order): order is readonly Part[] => Array.isArray(order);

parentPort!.on("message", obey);
