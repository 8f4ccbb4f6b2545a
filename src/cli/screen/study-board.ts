/** What the terminal shows while the cells of a study run. */
import { plural } from "../../report/numbers.ts";
import { failureOf } from "../../study/cell.ts";
import { type CellPlan, titleOf } from "../../study/matrix/plan.ts";
import type { StudyCell } from "../../study/study.ts";
import { factsOf, type TaskFacts } from "../../tasks/facts.ts";
import { ProgressLine } from "./progress-line.ts";
import { terminal } from "./terminal.ts";

interface Looks {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export class StudyBoard {
  readonly #isJson: boolean;
  readonly #isShown: boolean;
  readonly #line: ProgressLine | null;
  /** Of the cells under way. */
  readonly #rounds = new Map<string, number>();
  readonly #trains: boolean;
  readonly #task: TaskFacts;
  readonly #worth: ReadonlyMap<string, number>;
  /** Cells, or where they train the rounds of cells: those take long enough to be waited for. */
  #done: number;

  constructor(plans: readonly CellPlan[], missing: readonly CellPlan[], { json = false, quiet = false }: Looks) {
    this.#isJson = json;
    this.#isShown = !json && !quiet;
    this.#task = factsOf(plans[0]!.scenario.data.task.type);
    this.#trains = plans.some(({ scenario }) => !scenario.data.timingOnly);
    const worth = ({ scenario }: CellPlan): number => (this.#trains ? scenario.data.rounds.count : 1);
    this.#worth = new Map(plans.map((plan) => [plan.key, worth(plan)]));
    const amount = (of: readonly CellPlan[]): number => of.reduce((sum, plan) => sum + worth(plan), 0);
    this.#done = amount(plans) - amount(missing);
    const kept = plans.length - missing.length;
    this.note(`${plural(plans.length, "cell", "cells")}${kept === 0 ? "" : `, ${kept} of them done before`}`);
    const unit = this.#trains ? "round" : "cell";
    this.#line = this.#isShown && missing.length > 0 ? new ProgressLine(unit, amount(plans), this.#done) : null;
  }

  note(text: string): void {
    if (this.#isShown) terminal.out.write(`${text}\n`);
  }

  round(plan: CellPlan, round: number): void {
    this.#rounds.set(titleOf(plan), round);
    this.#show();
  }

  cell(cell: StudyCell): void {
    const title = titleOf(cell);
    const { cell: found } = cell.result!;
    this.#done += this.#worth.get(cell.key)!;
    this.#rounds.delete(title);
    if (this.#isJson) {
      const { method, condition, run } = cell;
      terminal.out.write(`${JSON.stringify({ event: "cell", method, condition, run, ...found })}\n`);
    }
    const { symbol } = this.#task.budget;
    const failure = failureOf(found);
    const losses = found.evaluations.map(({ budget, loss }) => `${symbol}=${budget} ${Number(loss).toFixed(3)}`);
    if (this.#trains || failure !== null) {
      this.#line?.note(`${title}: ${[...losses, ...(failure === null ? [] : [failure])].join("  ")}`);
    }
    this.#show();
  }

  close(): void {
    this.#line?.close();
  }

  #show(): void {
    const rounds = this.#trains ? [...this.#rounds.values()].reduce((sum, round) => sum + round, 0) : 0;
    const running = [...this.#rounds].map(([title, round]) => `${title}, round ${round}`).join(" | ");
    this.#line?.update(this.#done + rounds, running);
  }
}
