/**
 * How much should an expert listen to those who used it? FLAME's t, which is FedAvg at 0, with the frequency per token and as
 * a share of what the client activated.
 *
 *   npx flame compare paper/temperature            five seeds; --smoke says in minutes whether it runs
 */
import { defineScenario, type Study } from "flame-sim";
import { setting, smoke } from "./main-table.ts";

const exponents = [0, 1, 2, 4, 8];

export const study: Study = {
  strategies: ["tokens", "share"].flatMap((norm) =>
    exponents.map((t) => `flame:frequencyExponent=${t}:frequencyNorm=${norm}`),
  ),
  smoke,
};

export default defineScenario({ ...setting, name: "temperature" });
