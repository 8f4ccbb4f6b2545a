/** FedMoE: each client holds the experts that its data use, and takes advice from clients like it on which to change. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { type ParameterLayout, rowOf } from "../../tasks/layout.ts";
import type { StepContext } from "../../tasks/steps.ts";
import type { Setting } from "../../tasks/task.ts";
import { add, reduceSum, scale } from "../../tensor/ops/arithmetic.ts";
import { less } from "../../tensor/ops/discrete.ts";
import { split } from "../../tensor/ops/layout.ts";
import { discountField, emptyMean, foldMean, moved, type WeightedMean } from "../averaging.ts";
import { loadBalance, smoothed } from "../experts/losses.ts";
import { usedIn } from "../experts/scores.ts";
import { adviceFor, advised, fits, largestWithin, type Memory } from "../experts/sub-models.ts";
import type { ClientView } from "../plan.ts";
import { onesOf } from "../probes.ts";
import type { ServerState } from "../strategy.ts";
import { hasTrained, type Update } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

/** What a client asked to take part holds, and whether it holds all to be measured or on trial. */
interface Part {
  readonly experts: readonly number[];
  readonly stage: "measured" | "provisional" | "settled" | "trial";
}

/** A client's structure, in its own memory once stage two has begun for it. */
interface Own {
  readonly experts: readonly number[];
  /** Its best so far; higher is better. */
  readonly score: number;
  /** Participations since it rose. */
  readonly stalled: number;
  /** Whether a change has failed: no other is tried. */
  readonly frozen: boolean;
}

interface Sum {
  readonly layout: ParameterLayout;
  readonly mean: WeightedMean;
  /** What each client of the round says of its experts. */
  readonly measured: { readonly client: number; readonly part: Part; readonly p: Float64Array }[];
}

const fields = {
  warmUp: z
    .int()
    .min(0)
    .default(5)
    .describe("rounds of stage one, in which clients with memory for it train the whole model"),
  memory: z
    .record(z.string().regex(/^\d+$/), z.number().positive().max(1))
    .exactOptional()
    .describe(
      "M_k by the client's budget k: share of all experts there is room for beside the rest of the model; k ÷ the model's top-k unless given",
    ),
  usable: z
    .number()
    .positive()
    .max(1)
    .default(0.8)
    .describe("α of stage one: share of M_k that a first sub-model may take"),
  balance: z.number().min(0).default(0.01).describe("α of the objective: weight of the load-balance loss"),
  labelSmoothing: z.number().min(0).lt(1).default(0.1).describe("ε"),
  neighbours: z.int().min(1).default(3).describe("K clients whose advice is asked"),
  patience: z.int().min(1).default(3).describe("participations without a better score before a change is tried"),
  mostChanged: z.number().min(0).max(1).default(0.25).describe("share of a client's experts changed at once, at most"),
  validation: z
    .number()
    .positive()
    .lt(1)
    .default(0.2)
    .describe("share of its examples that a client keeps from training"),
  weighting: z
    .enum(["examples", "tokens"])
    .default("examples")
    .describe("of those who hold an expert: n_k, or the tokens that reached it"),
  trainRouters: z.boolean().default(true).describe("whether routers train; a row is averaged with its expert"),
  ...discountField,
};

export const fedmoe = defineStrategy({
  type: "fedmoe",
  about: {
    adapts: "which experts a client holds: those its own data use, within its memory",
    formula: `
      p[k][e]: share of client k's choices in a layer that fall on expert e, on its validation examples
      first    X_k: per layer the fewest experts of summed p ≥ θ; the largest θ with w_rest + Σ_X w ≤ α·M_k
      loss     (1 − ε)·CE + ε·CE to all classes alike + α_LB·Σ over layers of |X|·Σ f_e·P_e
      merge    expert and router row ← mean over those who hold it and trained it; nobody's stays
      advice   sim = cosine(p[k], p[a]);  the K most similar;  p̂ = Σ sim·p[a] ÷ Σ sim
               n = mean |X_a| − |X_k|:  n > 0 adds the n of highest p̂ outside X_k, else the |n| lowest inside go
      trial    no better score after a change: the old experts come back, and the client never changes again
    `,
    notes: `
      Base weights are frozen everywhere; memory charges them still. M_k is the rest of the model and a share of the
      experts. Experts that a client does not hold are masked in its routers, which is the sub-model exactly. In stage one
      clients without memory for the whole model train what the mean of p says; nobody has said anything in round 1,
      nor ever where no client has that memory. With one task in a run, that mean is over all clients that measured the
      whole model, by examples. Experts without a fresh measurement keep the p they had. The score is the mean validation
      loss, negative. A client's model is its sub-model of the global one. The paper gives no α, α_LB, ε, K, patience or
      bound on changes: their defaults are ours.
    `,
    sends: "p, a number an expert, and its validation score; of the model what it holds",
    keeps: "p and sizes of all clients; with each client its experts, best score, and whether it is frozen",
    sources: [
      {
        by: "Mei et al.",
        title: "FedMoE: Personalized Federated Learning via Heterogeneous Mixture of Experts",
        year: 2024,
        url: "https://arxiv.org/abs/2408.11304",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: fields,
  make(options) {
    const { warmUp, balance, labelSmoothing, neighbours, patience, mostChanged, weighting, discounts } = options;
    return {
      needs: ["experts-only", "routers"],
      ownObjective: true,
      shape: { routers: options.trainRouters },
      validation: options.validation,
      init: (setting) => ({
        vectors: {
          p: new Float64Array(setting.clients * mixtureOf(setting).count),
          held: new Float64Array(setting.clients),
          whole: new Float64Array(setting.clients),
        },
        notes: null,
      }),
      plan(client, server, setting) {
        const { count, routers } = mixtureOf(setting);
        const part = partOf(client, server, setting);
        const scalars = heldScalars(part.experts, setting.layout);
        return {
          kind: { variant: maskedAt(client.budget, setting) },
          scope: { groups: [...part.experts, ...routers] },
          inputs: { routerBias: biasOf(part.experts, count) },
          bytes: { down: 4 * scalars, up: 4 * (scalars + count) + 8 },
          notes: { ...part },
        };
      },
      steps: () => ({
        merges: false,
        objective(at) {
          const loss = at.mean(smoothed(at.pass, labelSmoothing));
          return balance === 0 ? loss : add(loss, scale(loadBalance(at, heldIn(at)), balance));
        },
        validate: (at) => ({
          loss: reduceSum(at.pass.losses, [0], true),
          targets: reduceSum(onesOf(at.pass.losses), [0], true),
          used: usedIn(at),
        }),
      }),
      reply({ found, trained }, plan, { memory }, setting) {
        const { experts, stage } = plan.notes as unknown as Part;
        const { perLayer } = mixtureOf(setting);
        const score = -found.loss![0]! / found.targets![0]!;
        const held = new Set(experts);
        const moves = trained.map((used, group) => (group < found.used!.length && !held.has(group) ? 0 : used));
        const p = sharesOf(found.used!, held, perLayer);
        const sent = { sent: { p, score }, trained: moves };
        if (stage === "measured" || stage === "provisional") return sent;
        const own = memory.notes as Own | null;
        return { ...sent, memory: { vectors: {}, notes: { ...settled({ experts, stage }, own, score) } } };
      },
      deployTo({ budget, memory }, { parameters }, setting) {
        const { experts } = memory.notes as unknown as Own;
        const inputs = { routerBias: biasOf(experts, mixtureOf(setting).count) };
        return { models: [{ parameters, variant: maskedAt(budget, setting), inputs }] };
      },
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin(_server, setting): Sum {
        const layout = withRows(setting.layout);
        return { layout, mean: emptyMean(layout), measured: [] };
      },
      fold({ layout, mean, measured }: Sum, update) {
        foldMean(mean, update, layout, discounts, weightOf);
        const part = update.plan.notes as unknown as Part;
        measured.push({ client: update.client, part, p: update.sent.p as Float64Array });
      },
      finish({ layout, mean, measured }: Sum, server, setting) {
        if (mean.updates === 0) return server;
        const parameters = moved(mean, server.parameters, layout, (_, delta) => delta);
        return { ...server, parameters, vectors: { ...server.vectors, ...withMeasured(server, measured, setting) } };
      },
    };

    /** What a client is to hold in this round. */
    function partOf(client: ClientView, server: ServerState, setting: Setting): Part {
      const own = client.memory.notes as Own | null;
      const memory = memoryOf(client.budget, setting);
      const all = Array.from({ length: mixtureOf(setting).count }, (_, expert) => expert);
      if (client.round <= warmUp) {
        if (fits(all.length, memory)) return { experts: all, stage: "measured" };
        return { experts: firstOf(probabilitiesOf(null, server, setting), memory, setting), stage: "provisional" };
      }
      if (own === null) {
        const p = probabilitiesOf(client.client, server, setting);
        return { experts: firstOf(p, memory, setting), stage: "settled" };
      }
      if (own.frozen || own.stalled < patience) return { experts: own.experts, stage: "settled" };
      const experts = recommended(client, own.experts, server, setting, memory);
      return experts === own.experts ? { experts, stage: "settled" } : { experts, stage: "trial" };
    }

    function firstOf(p: Float64Array, memory: Memory, setting: Setting): readonly number[] {
      const { perLayer, count } = mixtureOf(setting);
      const layers = Array.from({ length: count / perLayer }, (_, layer) =>
        Array.from(p.subarray(layer * perLayer, (layer + 1) * perLayer)),
      );
      const { kept } = largestWithin(layers, { ...memory, limit: options.usable * memory.limit });
      return kept.flatMap((own, layer) => own.map((expert) => layer * perLayer + expert));
    }

    function recommended(
      { client }: ClientView,
      experts: readonly number[],
      server: ServerState,
      setting: Setting,
      memory: Memory,
    ): readonly number[] {
      const { perLayer } = mixtureOf(setting);
      const others = knownTo(server, setting).filter((other) => other.client !== client && other.experts > 0);
      const p = probabilitiesOf(client, server, setting);
      const advice = others.length === 0 ? null : adviceFor({ p, experts }, others, neighbours);
      if (advice === null) return experts;
      const most = Math.floor(mostChanged * experts.length);
      return advised(experts, advice, { most, memory, layerOf: (expert) => Math.floor(expert / perLayer) });
    }

    /** M_k, and what is in it. */
    function memoryOf(budget: number, setting: Setting): Memory {
      const { topK, expert, rest, count } = mixtureOf(setting);
      const share = options.memory?.[budget] ?? Math.min(1, budget / topK);
      return { expert, rest, limit: rest + share * count * expert };
    }

    /** Of an expert with its row, by those who hold it; a router as a whole is for the books. */
    function weightOf(update: Update, group: number): number {
      const p = update.sent.p as Float64Array;
      if (group >= p.length) return update.examples;
      const { experts } = update.plan.notes as unknown as Part;
      if (!hasTrained(update, group) || !experts.includes(group)) return 0;
      return weighting === "examples" ? update.examples : update.counts[group]!;
    }
  },
});

const maskedAt = (budget: number, setting: Setting) => ({ ...setting.variant(budget), masked: 1 });

function mixtureOf({ mixture, layout: { mixtures = [] } }: Pick<Setting, "mixture" | "layout">) {
  const [first] = mixtures;
  if (mixture === undefined || first === undefined) {
    throw new ScenarioError("strategy fedmoe chooses among experts, and the model has none");
  }
  const perLayer = first.experts.length;
  const routers = mixtures.flatMap(({ router }) => (router === null ? [] : [router]));
  return { ...mixture, perLayer, count: mixtures.length * perLayer, routers };
}

/** Added to router logits: so little that an expert which is not held is out of the question. */
function biasOf(experts: readonly number[], count: number): Float32Array {
  const bias = new Float32Array(count).fill(-1e9);
  for (const expert of experts) bias[expert] = 0;
  return bias;
}

/** How many experts are held in each layer, `[1]` each. */
function heldIn({ graph, pass }: StepContext) {
  const held = less(graph.constant([-1], [1]), pass.batch.routerBias!);
  const perLayer = (held.shape[0] as number) / pass.routers!.length;
  return split(
    held,
    0,
    pass.routers!.map(() => perLayer),
  ).map((layer) => reduceSum(layer, [0], true));
}

/** Each layer's choices as shares of those that fell on experts held; 0 elsewhere. */
function sharesOf(used: Float64Array, held: ReadonlySet<number>, perLayer: number): Float64Array {
  const shares = used.map((count, expert) => (held.has(expert) ? count : 0));
  for (let from = 0; from < shares.length; from += perLayer) {
    const layer = shares.subarray(from, from + perLayer);
    const sum = layer.reduce((a, b) => a + b, 0);
    if (sum > 0) for (let i = 0; i < perLayer; i++) layer[i]! /= sum;
  }
  return shares;
}

/** A client's structure after its update: a trial that failed is undone for good. */
function settled({ experts, stage }: Part, own: Own | null, score: number): Own {
  if (own === null) return { experts, score, stalled: 0, frozen: false };
  const better = score > own.score;
  if (stage === "trial") return better ? { experts, score, stalled: 0, frozen: false } : { ...own, frozen: true };
  return { ...own, score: Math.max(score, own.score), stalled: better ? 0 : own.stalled + 1 };
}

/** Parameters that travel: experts and their router rows. */
function heldScalars(experts: readonly number[], layout: ParameterLayout): number {
  const { groups } = withRows(layout);
  return experts.reduce(
    (sum, expert) => sum + groups[expert]!.ranges.reduce((size, { start, end }) => size + end - start, 0),
    0,
  );
}

/** Experts, each with its row of the router where routers train. */
function withRows({ size, groups, mixtures = [] }: ParameterLayout): ParameterLayout {
  const each = mixtures.flatMap(({ experts, router }) =>
    experts.map((expert, row) => {
      const { name, ranges } = groups[expert]!;
      return { name, ranges: router === null ? ranges : [...ranges, rowOf(groups[router]!, experts, row)] };
    }),
  );
  return { size, groups: each, pairs: [] };
}

/** Clients of whom the server knows anything: how many experts they hold, 0 before stage two, and what they use. */
function knownTo({ vectors }: ServerState, { clients, ...setting }: Setting) {
  const { count } = mixtureOf(setting);
  // A run without training has no state.
  const { p = new Float64Array(0), held = new Float64Array(0), whole = held } = vectors;
  return Array.from({ length: Math.min(clients, held.length) }, (_, client) => ({
    client,
    p: p.subarray(client * count, (client + 1) * count) as Float64Array,
    experts: held[client]!,
    whole: whole[client] === 1,
  })).filter(({ experts, whole }) => whole || experts > 0);
}

/** p of a client, or of one of whom nothing is known: the mean over those who measured the whole model, by examples. */
function probabilitiesOf(client: number | null, server: ServerState, setting: Setting): Float64Array {
  const { count, perLayer } = mixtureOf(setting);
  const known = knownTo(server, setting);
  const own = known.find((one) => one.client === client);
  if (own !== undefined) return own.p;
  const mean = new Float64Array(count);
  const asked = known.filter(({ whole }) => whole);
  const total = asked.reduce((sum, one) => sum + setting.examples(one.client), 0);
  if (total === 0) return mean.fill(1 / perLayer);
  for (const one of asked) {
    const share = setting.examples(one.client) / total;
    for (let expert = 0; expert < count; expert++) mean[expert]! += share * one.p[expert]!;
  }
  return mean;
}

/** p and sizes with what a round has said; experts without a fresh measurement keep what they had. */
function withMeasured(server: ServerState, measured: Sum["measured"], setting: Setting) {
  const { count } = mixtureOf(setting);
  const p = Float64Array.from(server.vectors.p!);
  const held = Float64Array.from(server.vectors.held!);
  const whole = Float64Array.from(server.vectors.whole!);
  for (const { client, part, p: fresh } of measured) {
    if (part.stage === "provisional") continue;
    const row = p.subarray(client * count, (client + 1) * count);
    if (held[client] === 0 && whole[client] === 0) row.set(probabilitiesOf(client, server, setting));
    for (const expert of part.experts) row[expert] = fresh[expert]!;
    if (part.stage === "measured") whole[client] = 1;
    else held[client] = part.experts.length;
  }
  return { p, held, whole };
}
