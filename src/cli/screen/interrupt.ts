/** Ctrl-C, `kill` and a closing terminal end long work cleanly; asked again, they end it at once. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A terminal and the launcher in between may both pass on one Ctrl-C; what comes this soon is the same one. */
const echoMs = 1_000;

/** Calls `stop` at the first signal. @returns a function that stops listening */
export function onInterrupt(stop: () => void): () => void {
  let first: number | null = null;
  const interrupt = (signal: NodeJS.Signals) => {
    if (first === null) {
      first = performance.now();
      stop();
    } else if (performance.now() - first > echoMs) {
      deafen();
      // As if nobody had listened: an orderly exit would abort where a worker is in native code.
      process.kill(process.pid, signal);
    }
  };
  const deafen = () => {
    for (const signal of signals) process.off(signal, interrupt);
  };
  for (const signal of signals) process.on(signal, interrupt);
  return deafen;
}
