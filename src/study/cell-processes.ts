/** A few processes that run cells; one that dies takes nothing with it but time. */
import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { MachineError, ScenarioError } from "../base/errors.ts";
import { moduleUrl } from "../base/places.ts";
import { failureOf } from "../runtime/pools/pool.ts";
import type { StoredCell } from "./cell.ts";
import type { CellJob, CellOrder, CellReply } from "./cell-worker.ts";

const attempts = 3;

export class CellProcesses {
  readonly #idle: ChildProcess[] = [];
  readonly #all = new Set<ChildProcess>();
  readonly #signal: AbortSignal;
  readonly #onProcess: (id: number) => void;

  /**
   * @param signal gives up the cells under way
   * @param onProcess is told of every process that is started
   */
  constructor(signal: AbortSignal, onProcess: (id: number) => void = () => {}) {
    this.#signal = signal;
    this.#onProcess = onProcess;
    signal.addEventListener("abort", () => {
      for (const child of this.#all) if (child.connected) child.send("stop" satisfies CellOrder);
    });
  }

  /**
   * Runs one cell in a process of its own until it is done. As many run at a time as there are calls under way.
   *
   * @returns null when it was interrupted
   */
  async run(job: CellJob, onRound: (round: number) => void): Promise<StoredCell | null> {
    for (let attempt = 1; ; attempt++) {
      const child = this.#idle.pop() ?? this.#start();
      const reply = await ask(child, job, onRound);
      if (reply !== null) {
        this.#idle.push(child);
        if ("outcome" in reply) return reply.outcome;
        throw reply.name === "ScenarioError" ? new ScenarioError(reply.message) : failureOf(reply);
      }
      this.#all.delete(child);
      if (this.#signal.aborted) return null;
      if (attempt === attempts) throw new MachineError(`a process died ${attempts} times under: ${job.reproduce}`);
    }
  }

  close(): void {
    for (const child of this.#all) if (child.connected) child.disconnect();
  }

  #start(): ChildProcess {
    const file = fileURLToPath(moduleUrl("src/study/cell-worker"));
    const loader = extname(file) === ".ts" ? ["--import", import.meta.resolve("tsx")] : [];
    const child = fork(file, {
      // A simulation makes many objects that live for one participation: with more room for the young, a fifth faster.
      execArgv: ["--max-semi-space-size=64", ...loader],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#all.add(child);
    if (child.pid !== undefined) this.#onProcess(child.pid);
    return child;
  }
}

type Answer = Exclude<CellReply, { readonly round: number }>;

/** Null when the process died. */
function ask(child: ChildProcess, job: CellJob, onRound: (round: number) => void): Promise<Answer | null> {
  return new Promise((resolve) => {
    const finish = (answer: Answer | null) => {
      child.off("message", onMessage);
      child.off("exit", onExit);
      child.off("error", onExit);
      resolve(answer);
    };
    const onMessage = (message: unknown) => {
      const reply = message as CellReply;
      if ("round" in reply) onRound(reply.round);
      else finish(reply);
    };
    const onExit = () => finish(null);
    child.on("message", onMessage);
    child.on("exit", onExit);
    child.on("error", onExit);
    child.send(job satisfies CellOrder, (error) => {
      if (error !== null) onExit();
    });
  });
}
