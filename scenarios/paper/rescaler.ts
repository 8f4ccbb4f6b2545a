/**
 * What does the rescaler do for clients that leave experts out: learned from different starts, fixed, or none at all?
 *
 *   npx flame compare paper/rescaler            five seeds; --smoke says in minutes whether it runs
 */
import { defineScenario, type Study } from "flame-sim";
import { setting, smoke } from "./main-table.ts";

const rescaler = (learn: boolean, init: "one" | "ratio" | "mass") => [`rescaler={"learn":${learn},"init":"${init}"}`];

export const study: Study = {
  strategies: ["flame"],
  variants: [
    { name: "learned from 1", set: rescaler(true, "one") },
    { name: "learned from K/k", set: rescaler(true, "ratio") },
    { name: "learned from mass", set: rescaler(true, "mass") },
    { name: "fixed at K/k", set: rescaler(false, "ratio") },
    { name: "fixed at mass", set: rescaler(false, "mass") },
    { name: "none", set: rescaler(false, "one") },
  ],
  smoke,
};

export default defineScenario({ ...setting, name: "rescaler" });
