/** Federated averaging with differential privacy of clients: bounded updates, and noise on their sum. */
import * as z from "zod";
import { ScenarioError } from "../../../base/errors.ts";
import type { ClientId } from "../../../base/ids.ts";
import type { Problem } from "../../../base/problem.ts";
import type { Setting } from "../../../tasks/task.ts";
import { addChange } from "../../averaging.ts";
import type { Inviting, ServerState, StrategySampler } from "../../strategy.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { accountant } from "./accountant.ts";

interface Sum {
  readonly bound: number;
  /** Σ w_i·Δ_i, clipped. */
  readonly delta: Float64Array;
  /** Σ of bits: updates that were within the bound. */
  within: number;
  readonly from: Set<ClientId>;
}

/** Less protects nobody, and its account is beyond numbers. */
const leastNoise = 0.01;

export const dpfedavg = defineStrategy({
  type: "dpfedavg",
  about: {
    adapts: "what a client can be known by: bounded updates, and noise on their sum",
    formula: `
      Δ_i ← Δ_i · min(1, C ÷ ‖Δ_i‖₂),   θ ← θ + (Σ w_i·Δ_i + N(0, (z·C)²·I)) ÷ (q·W)
      w_i = 1, or min(n_i ÷ n̂, 1);   W = Σ w_i over all clients, q the probability that a client takes part

      adaptive:  b̄ = ½ + (Σ ([‖Δ_i‖ ≤ C] − ½) + N(0, σ_b²)) ÷ (q·N),   C ← C·exp(−0.2·(b̄ − γ))
                 z_Δ = (z⁻² − (2σ_b)⁻²)^(−1/2) in the place of z, as the bit costs as well: ½ more or less
    `,
    notes: `
      The denominator is fixed: with the number that arrived, one client would change more than C. So a cohort smaller than
      q·N moves the model less. Metrics have ε of the rounds so far, from Rényi orders 2 to 512, and C where it adapts. The
      account is of clients that take part with probability q, each on its own: with sampling "poisson" they are chosen so,
      and rounds.cohort is the most that a round has, to be set well above q·N. A cohort of fixed size, by the scenario's
      sampler, is near that and not the same. Less than its share of all clients is refused as q, and anything but 1 with
      samplers that prefer some clients, with rounds.minimumGap and with policies whose clients work on; where clients are
      away, the others come more often than q says. Every round has its noise and its place in the account, however few were
      counted, or nobody: rounds.minUpdates is not asked. The account covers the model alone: losses and counts that clients
      send, by which samplers choose and reports speak, are not in it. Experts that nobody trained get their noise, or their
      rest would tell. Of several updates of a client in one aggregation, as fedbuff may have them, the first counts. Adding
      noise to both factors of B·A adds some to the product that neither has.
    `,
    sends: "whether its update was within C, where that adapts",
    keeps: "C and the number of rounds",
    sources: [
      {
        by: "McMahan et al.",
        title: "Learning Differentially Private Recurrent Language Models",
        year: 2018,
        url: "https://arxiv.org/abs/1710.06963",
      },
      {
        by: "Andrew et al.",
        title: "Differentially Private Learning with Adaptive Clipping",
        year: 2019,
        url: "https://arxiv.org/abs/1905.03871",
      },
    ],
    certainty: "as published",
    reduces: [
      {
        options: { sampled: 1, noise: 0, bound: 1e9 },
        to: { type: "fedavg", weighting: "uniform" },
        gives: ["program", "values"],
      },
    ],
  },
  options: {
    sampled: z
      .number()
      .gt(0)
      .max(1)
      .default(1)
      .describe(
        "q: the cohort's share of all clients, or more; as 1, chance adds no privacy, and small cohorts move the model less",
      ),
    sampling: z
      .enum(["cohort", "poisson"])
      .default("cohort")
      .describe("who is invited: as the scenario says, or everybody with probability q"),
    bound: z.number().positive().default(0.1).describe("C, in the unit of parameters; where it starts, if it adapts"),
    noise: z.number().min(0).default(1).describe("z, in units of C"),
    delta: z.number().gt(0).lt(1).default(1e-5).describe("δ of the ε that metrics have"),
    fullWeight: z
      .number()
      .positive()
      .exactOptional()
      .describe("n̂, examples from which a client weighs 1; all do unless given"),
    quantile: z
      .number()
      .gt(0)
      .lt(1)
      .exactOptional()
      .describe("γ, share of updates that C adapts to; C rests unless given"),
    bitNoise: z.number().positive().exactOptional().describe("σ_b; a twentieth of q·N unless given"),
  },
  name: ({ noise, bound, quantile }) => `dpfedavg(z=${noise},C=${bound}${quantile === undefined ? "" : ",adaptive"})`,
  make({ sampled, sampling, bound, noise, delta, fullWeight, quantile, bitNoise }) {
    const weightOf = (examples: number) => (fullWeight === undefined ? 1 : Math.min(1, examples / fullWeight));
    const noiseOfBits = ({ clients }: Setting) => bitNoise ?? (sampled * clients) / 20;
    const noiseOfDeltas = (setting: Setting): number =>
      quantile === undefined || noise === 0 ? noise : (noise ** -2 - (2 * noiseOfBits(setting)) ** -2) ** -0.5;
    if (quantile === undefined && bitNoise !== undefined) {
      throw new ScenarioError("strategy.bitNoise is given, expected nothing without strategy.quantile");
    }
    if (noise > 0 && noise < leastNoise) {
      throw new ScenarioError(`strategy.noise is ${noise}, expected 0 for none, or at least ${leastNoise}`);
    }
    const epsilonOf = noise === 0 ? null : accountant(sampled, noise);
    return {
      sums: "bounded",
      ...(sampling === "poisson" && { sampler: poisson(sampled) }),
      weight: ({ examples, discount }) => weightOf(examples) * discount,
      init: () => ({ vectors: { bound: Float64Array.of(bound), rounds: Float64Array.of(0) }, notes: null }),
      problems(setting) {
        const bits = noiseOfBits(setting);
        if (quantile === undefined || 2 * bits > noise) return [];
        return [{ path: "bitNoise", text: `is ${bits}, expected more than ${noise / 2}, half of strategy.noise` }];
      },
      participationProblems: ({ clients }, inviting) => [
        ...notAnew(sampled, inviting),
        ...(sampling === "poisson" ? tooFew(sampled, clients, inviting) : otherChance(sampled, clients, inviting)),
      ],
      finishesAlways: true,
      begin: ({ vectors }, { layout }): Sum => ({
        bound: vectors.bound![0]!,
        delta: new Float64Array(layout.size),
        within: 0,
        from: new Set(),
      }),
      fold(sum: Sum, update) {
        const { client, values, base, examples, discount, clip = 1 } = update;
        if (sum.from.has(client)) return;
        sum.from.add(client);
        const norm = discount * clip * normOf(update);
        if (norm <= sum.bound) sum.within++;
        const share = weightOf(examples) * discount * clip * Math.min(1, sum.bound / norm);
        addChange(sum.delta, values, base, 0, values.length, share);
      },
      finish(sum: Sum, server, setting, { draws }) {
        const { clients, examples } = setting;
        const all = Array.from({ length: clients }, (_, client) => weightOf(examples(client))).reduce(
          (a, b) => a + b,
          0,
        );
        const deviation = noiseOfDeltas(setting) * sum.bound;
        const draw = draws("privacy");
        const parameters = server.parameters.map((value, i) => {
          const change = (sum.delta[i]! + (deviation === 0 ? 0 : deviation * draw.normal())) / (sampled * all);
          // A zero leaves the value as it is, the sign of a zero included.
          return change === 0 ? value : value + change;
        });
        const next = quantile === undefined ? sum.bound : adapted(sum, quantile, setting, draws("bits").normal());
        const vectors = { bound: Float64Array.of(next), rounds: Float64Array.of(server.vectors.rounds![0]! + 1) };
        return { ...server, parameters, vectors: { ...server.vectors, ...vectors } };
      },
      report: ({ vectors }: ServerState) => ({
        ...(epsilonOf && { epsilon: epsilonOf(vectors.rounds![0]!, delta) }),
        ...(quantile !== undefined && { bound: vectors.bound![0]! }),
      }),
    };

    function adapted({ bound, within, from }: Sum, wanted: number, setting: Setting, draw: number): number {
      const bits = noise === 0 ? 0 : noiseOfBits(setting) * draw;
      const share = 0.5 + (within - from.size / 2 + bits) / (sampled * setting.clients);
      return bound * Math.exp(-0.2 * (share - wanted));
    }
  },
});

/** Of more who are drawn than a round invites, chance leaves some out. */
function tooFew(q: number, clients: number, { invites }: Inviting): Problem[] {
  const mean = q * clients;
  if (invites === null || invites >= mean) return [];
  const text = `is ${q}, by which ${mean} of ${clients} clients are drawn on average; a round invites ${invites}`;
  return [{ path: "sampled", text: `${text}, expected a rounds.cohort well above that` }];
}

const only = (q: number, why: string): Problem[] => [{ path: "sampled", text: `is ${q}, expected 1 ${why}` }];

/** Chance adds privacy where each round asks it, whoever was in the one before. */
function notAnew(q: number, { carriesOver, minimumGap }: Inviting): Problem[] {
  if (q === 1) return [];
  if (carriesOver) return only(q, "where clients work on when a round ends: nobody is drawn anew");
  return minimumGap > 0
    ? only(q, "with rounds.minimumGap: who sits out is not drawn, and others come the more often")
    : [];
}

/** What is less than the chance that a client has would promise more privacy than there is. */
function otherChance(q: number, clients: number, { invites, sampler }: Inviting): Problem[] {
  if (q === 1) return [];
  if (sampler !== "uniform")
    return only(q, `with the sampler ${sampler}, which does not give everybody the same chance`);
  const share = Math.min(1, (invites ?? 0) / clients);
  if (q >= share * (1 - 1e-9)) return [];
  return [
    { path: "sampled", text: `is ${q}, expected at least ${share}: a round invites ${invites} of ${clients} clients` },
  ];
}

/** Each with probability q, whoever else is there; of more than a round may have, chance leaves some out. */
const poisson = (q: number): StrategySampler => ({
  fewer: true,
  select({ eligible, count }, { clients }, draws) {
    const isDrawn = Array.from({ length: clients }, () => draws.uniform() < q);
    const drawn = eligible.filter((client) => isDrawn[client]);
    const chosen = drawn.length <= count ? drawn : draws.sample(drawn.length, count).map((at) => drawn[at]!);
    return { clients: chosen.map((client) => ({ client })), memory: null };
  },
});

/** ‖Δ‖₂ of what was sent. Four sums at a time, as none waits for another. */
function normOf({ values, base }: Update): number {
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  let i = 0;
  for (; i + 3 < values.length; i += 4) {
    const a = values[i]! - base[i]!;
    const b = values[i + 1]! - base[i + 1]!;
    const c = values[i + 2]! - base[i + 2]!;
    const d = values[i + 3]! - base[i + 3]!;
    first += a * a;
    second += b * b;
    third += c * c;
    fourth += d * d;
  }
  for (; i < values.length; i++) first += (values[i]! - base[i]!) ** 2;
  return Math.sqrt(first + second + (third + fourth));
}
