/** `flame forecast <scenario>`: what a run will take, without running it. */
import { given } from "../../base/given.ts";
import { guardScenario } from "../../run/guard.ts";
import { prepareRun } from "../../run/run.ts";
import { configure } from "../../scenario/configure.ts";
import { forecast } from "../../study/forecast/forecast.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { factsOf } from "../../tasks/facts.ts";
import { colors } from "../screen/colors.ts";
import { longForecast } from "../screen/forecast.ts";
import { terminal } from "../screen/terminal.ts";
import type { RunFlags } from "./run.ts";

export async function forecastScenario(name: string, flags: RunFlags): Promise<void> {
  const { scenarios } = await loadScenario(name);
  const { engine, merge, workers } = flags;
  for (const each of scenarios) {
    const scenario = guardScenario(configure(each, flags));
    // Weights are converted and steps timed: minutes on a large model.
    if (!scenario.data.timingOnly)
      terminal.err.write(colors.dim("preparing the model and timing steps on this machine\n"));
    const prepared = await prepareRun(scenario, given({ engine, workers }));
    const found = await forecast(scenario, prepared, { ...given({ engine, merge, workers }), thorough: true });
    if (flags.json === true) {
      terminal.out.write(`${JSON.stringify({ name: scenario.data.name, ...found })}\n`);
    } else {
      const { symbol } = factsOf(scenario.data.task.type).budget;
      terminal.out.write(`${colors.bold(scenario.data.name)}\n${longForecast(found, symbol)}\n`);
      for (const note of prepared.notes) terminal.out.write(`${note}\n`);
    }
  }
}
