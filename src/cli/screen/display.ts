/** Shows a run: a live table on a terminal, plain lines in a log, one JSON object per line for a script. */

import { createLogUpdate } from "log-update";
import { formatTime } from "../../base/units.ts";
import { plural } from "../../report/numbers.ts";
import type { Progress, ProgressListener } from "../../run/progress.ts";
import { factsOf } from "../../tasks/facts.ts";
import { colors } from "./colors.ts";
import { shortForecast } from "./forecast.ts";
import { duration, type Evaluated, header, roundLine, statusLine } from "./table.ts";
import { type Terminal, terminal, wrapped } from "./terminal.ts";

/** A log hears of work that takes longer, a line at a time. */
const quietMs = 60_000;

export interface DisplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export interface Display {
  readonly listen: ProgressListener;
  /** Leaves the terminal as a shell expects it. */
  close(): void;
}

export function openDisplay({ json, quiet }: DisplayOptions, { out }: Terminal = terminal): Display {
  if (json) return { listen: (progress) => void out.write(`${jsonLine(progress)}\n`), close: () => {} };
  const live = out.isTTY && !quiet ? createLogUpdate(process.stdout) : null;
  let spoke = performance.now();
  const print = (text: string) => {
    live?.clear();
    spoke = performance.now();
    out.write(`${text}\n`);
  };
  const say = (text: string) => print(wrapped(text));
  let evaluated: Evaluated = { task: factsOf("llm"), budgets: [] };
  let rounds = 0;
  let shown = "";
  return {
    listen(progress) {
      switch (progress.type) {
        case "began":
          evaluated = { task: factsOf(progress.task), budgets: progress.budgets };
          rounds = progress.rounds;
          if (!quiet) for (const line of opening(progress)) say(line);
          break;
        case "status":
          if (live) live(statusLine({ ...progress, rounds }));
          else if (!quiet && performance.now() - spoke > quietMs) print(statusLine({ ...progress, rounds }));
          break;
        case "round":
          if (quiet) break;
          // Again where the terminal has become another width.
          if (header(evaluated) !== shown) print(colors.bold(`\n${header(evaluated)}`));
          shown = header(evaluated);
          print(roundLine(progress.row, evaluated, progress));
          break;
        case "forecast":
          if (quiet) break;
          for (const line of shortForecast(progress)) say(colors.dim(line));
          for (const warning of progress.warnings) say(colors.yellow(warning));
          break;
        case "note":
          say(colors.yellow(progress.text));
          break;
        case "ended":
          for (const line of closing(progress, quiet)) say(line);
          break;
      }
    },
    close: () => live?.done(),
  };
}

type Began = Extract<Progress, { type: "began" }>;
type Ended = Extract<Progress, { type: "ended" }>;

function opening(began: Began): string[] {
  const { name, question, seed, clients, rounds, strategy, engine, workers, folder, resumedAfter } = began;
  const lines = [colors.bold(name), ...(question === null ? [] : [colors.dim(question)])];
  const work = engine === null ? "timing only" : `${engine}, ${plural(workers, "worker", "workers")}`;
  lines.push(
    `${plural(clients, "client", "clients")}, ${plural(rounds, "round", "rounds")}, ${strategy}, seed ${seed}, ${work}`,
  );
  if (folder !== null) lines.push(colors.dim(folder));
  if (resumedAfter !== null) lines.push(`continues after round ${resumedAfter}`);
  return lines;
}

function closing({ result }: Ended, quiet: boolean): string[] {
  const lines: string[] = [];
  for (const { name, held, detail } of result.expectations) {
    lines.push(`${held ? colors.green("holds") : colors.red("fails")}  ${name}: ${detail}`);
  }
  if (result.divergedIn !== null) lines.push(colors.red(`the model diverged in round ${result.divergedIn}`));
  const time = `${formatTime(result.virtualTime)} of virtual time in ${duration(result.seconds)}`;
  lines.push(
    `${result.state}: ${plural(result.rounds, "round", "rounds")}, ${time}, digest ${result.digest.slice(0, 16)}`,
  );
  if (result.folder !== null && result.state === "finished") lines.push(colors.dim(`${result.folder}/report.html`));
  if (result.folder !== null && result.state === "interrupted") {
    lines.push(`continue with: npx flame resume ${result.folder}`);
  }
  return quiet ? lines : ["", ...lines];
}

function jsonLine(progress: Progress): string {
  const { type, ...rest } = progress;
  if (progress.type !== "ended") return JSON.stringify({ event: type, ...rest });
  const { rows: _, adapter: __, ...result } = progress.result;
  return JSON.stringify({ event: type, ...result });
}
