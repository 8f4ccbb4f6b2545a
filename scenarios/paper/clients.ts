/**
 * Does it hold for other numbers of clients, and when fewer of them take part in a round?
 *
 *   npx flame compare paper/clients            five seeds; --smoke says in minutes whether it runs
 */
import { defineScenario, type Study } from "flame-sim";
import { setting, smoke } from "./main-table.ts";

const worlds = [4, 8, 16, 40].flatMap((clients) => [1, 0.5, 0.25].map((share) => ({ clients, share })));

export const study: Study = {
  strategies: ["flame", "fedavg"],
  conditions: worlds.map(({ clients, share }) => ({
    name: `${clients} clients, ${100 * share} %`,
    set: [
      ...setting.fleet.map((_, tier) => `fleet[${tier}].clients=${clients / 4}`),
      `rounds.cohort=${clients * share}`,
      // Few examples for forty clients: nobody is left without any.
      "data.partition.shortage=fill",
    ],
  })),
  smoke: { ...smoke, set: smoke.set.filter((change) => !change.startsWith("rounds.cohort")) },
};

export default defineScenario({ ...setting, name: "clients" });
