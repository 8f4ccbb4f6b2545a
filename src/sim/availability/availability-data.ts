/**
 * Availability that goes with a client's data. This, and not randomness, is what biases federated averaging: who is
 * seldom there has other data than who often is.
 *
 * The rules and their formulas are those of FLGo, https://github.com/WwZzz/easyFL, with t the number of the slot:
 *
 *   HOMO  1 − β                                      LN    c ÷ max c, c ~ LogN(0, −ln(1 − β))
 *   YMF   β · minLabel ÷ (labels − 1) + 1 − β        SLN   LN · (0.4 sin(2πt ÷ period) + 0.5)
 *   YFF   β · labelCount ÷ labels + 1 − β            YC    β · [phase of t within the labels] + 1 − β
 *   MDF   n^β ÷ max n^β                              LDF   n^−β ÷ max n^−β
 */
import * as z from "zod";
import { ScenarioError, unreachable } from "../../base/errors.ts";
import { duration, notNegative, positive } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Rng } from "../../base/random.ts";
import type { Fleet } from "../fleet/fleet.ts";

/** Rules that look at the labels of the clients' data. */
const labelRules = ["YMF", "YFF", "YC"] as const;

export const dataRuleSchema = z
  .strictObject({
    type: z.literal("data"),
    rule: z
      .enum(["HOMO", "LN", "SLN", ...labelRules, "MDF", "LDF"])
      .describe(
        "FLGo's: all alike; log-normal, also by the hour; by smallest label, number of labels, or labels in turn; much or little data first",
      ),
    beta: notNegative.describe("how unequal clients are, in [0, 1); of MDF and LDF the exponent"),
    slot: duration.describe("milliseconds after which chance decides anew"),
    period: positive.exactOptional().describe("slots after which SLN and YC repeat themselves; 24 if left out"),
  })
  .describe("more or less often by the data that a client holds")
  .refine(({ rule, beta }) => rule === "MDF" || rule === "LDF" || beta < 1, {
    path: ["beta"],
    error: "a number in [0, 1)",
  });

export type DataRule = Readonly<z.output<typeof dataRuleSchema>>;

export const needsLabels = ({ rule }: DataRule): boolean => labelRules.some((name) => name === rule);

/** What the labels of each client's data are, as columns over the fleet. */
export interface DataTraits {
  /** Labels are 0…labels − 1. */
  readonly labels: number;
  readonly minLabel: ArrayLike<number>;
  readonly maxLabel: ArrayLike<number>;
  /** Distinct labels. */
  readonly labelCount: ArrayLike<number>;
}

/** The probability that a client is eligible in a slot. */
export function dataProbability(
  spec: DataRule,
  fleet: Fleet,
  rng: Rng,
  traits?: DataTraits,
): (client: ClientId, slot: number) => number {
  const { rule, beta, period = 24 } = spec;
  switch (rule) {
    case "HOMO":
      return () => 1 - beta;
    case "LN":
    case "SLN": {
      const shares = luckyShares(fleet.size, beta, rng);
      if (rule === "LN") return (client) => shares[client]!;
      return (client, slot) => shares[client]! * (0.4 * Math.sin((2 * Math.PI * slot) / period) + 0.5);
    }
    case "MDF":
    case "LDF": {
      const power = rule === "MDF" ? beta : -beta;
      let largest = 0;
      for (let client = 0; client < fleet.size; client++) {
        largest = Math.max(largest, Math.max(1, fleet.examples[client]!) ** power);
      }
      return (client) => Math.max(1, fleet.examples[client]!) ** power / largest;
    }
    default:
      return labelProbability(rule, beta, period, traits);
  }
}

function labelProbability(
  rule: (typeof labelRules)[number],
  beta: number,
  period: number,
  traits: DataTraits | undefined,
): (client: ClientId, slot: number) => number {
  if (traits === undefined) {
    throw new ScenarioError(`availability rule ${rule} needs the labels of the clients' data, and there are none`);
  }
  const { labels, minLabel, maxLabel, labelCount } = traits;
  switch (rule) {
    case "YMF":
      return (client) => (beta * minLabel[client]!) / Math.max(1, labels - 1) + 1 - beta;
    case "YFF":
      return (client) => (beta * labelCount[client]!) / labels + 1 - beta;
    case "YC":
      return (client, slot) => {
        const phase = (1 + (slot % period)) / period;
        const isOwn = phase >= minLabel[client]! / labels && phase <= (maxLabel[client]! + 1) / labels;
        return (isOwn ? beta : 0) + 1 - beta;
      };
    default:
      return unreachable(rule);
  }
}

/** Log-normal, as shares of the largest of the fleet. */
function luckyShares(size: number, beta: number, rng: Rng): Float64Array {
  const lane = rng.at("availability share");
  const shares = new Float64Array(size);
  const sigma = -Math.log(1 - beta);
  let largest = 0;
  for (let client = 0; client < size; client++) {
    shares[client] = lane.at(client).logNormal(0, sigma);
    largest = Math.max(largest, shares[client]!);
  }
  for (let client = 0; client < size; client++) shares[client]! /= largest;
  return shares;
}
