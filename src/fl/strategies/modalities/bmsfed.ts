/** BMSFed: prototypes help the modality that lags behind, and clients are chosen so that their gradients stand for all. */
import * as z from "zod";
import { ScenarioError } from "../../../base/errors.ts";
import type { ClientId } from "../../../base/ids.ts";
import type { Problem } from "../../../base/problem.ts";
import { spread } from "../../../tasks/spread.ts";
import type { Probe, StepContext, Steps } from "../../../tasks/steps.ts";
import type { Setting } from "../../../tasks/task.ts";
import type { GraphBuilder, Tensor } from "../../../tensor/graph/ir.ts";
import { add, mul, reduceSum, scale } from "../../../tensor/ops/arithmetic.ts";
import { detach, less } from "../../../tensor/ops/discrete.ts";
import { reshape } from "../../../tensor/ops/layout.ts";
import { averagingWeight, discountField, emptyMean, foldMean, moved, type WeightedMean } from "../../averaging.ts";
import { localRateField, ofRate } from "../../local-rate.ts";
import type { Plan, Vectors } from "../../plan.ts";
import { sentValues, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { choose, type Knowledge, measured } from "./coverage.ts";
import {
  byPrototypes,
  type ClassMeans,
  classCounts,
  classSums,
  merged,
  type Prototypes,
  prototypesOf,
  rightOf,
} from "./prototypes.ts";

/** Modalities, as budgets say them: 1 is the first alone, 2 the second, 3 both. */
const both = 3;
const modalitiesIn = (budget: number): number[] => (budget === both ? [0, 1] : [budget - 1]);

/** What a client trains, of what it has. */
interface Part {
  readonly mode: number;
  readonly has: number;
  readonly warmUp: boolean;
}

interface Found extends Part {
  readonly client: ClientId;
  readonly discount: number;
  /** Received minus trained, of both encoders. */
  readonly gradient: Float32Array;
  readonly sent: Update["sent"];
}

interface Sum {
  readonly mean: WeightedMean;
  readonly found: Found[];
}

const averagingRule = { weighting: "examples", absentPolicy: "renormalise" } as const;

export const bmsfed = defineStrategy({
  type: "bmsfed",
  about: {
    adapts: "whom to invite, and with which of two modalities; a loss on prototypes for the one that lags behind",
    formula: `
      both      L = CE(head(φ_a, φ_v), y) + α·pce_v where score_a > score_v, + α·pce_a where score_a < score_v
      one       L = CE(head(φ_m, 0), y) + α·pce_m
                pce_m = CE(softmax(−‖φ_m(x) − c_m‖₂), y),   score_m = Σ over the batch of softmax(…)_y;  c global, fixed
      after     c_{m,y} ← class means of the client's features;   ρ_k = acc_a ÷ acc_v of the nearest of its own c
      server    encoder m ← Σ n_k·θ_{m,k} ÷ Σ n_k over those that trained it;  head over all;  c by counts
                ρ = Σ n_k·ρ_k ÷ Σ n_k over all clients, those of one modality at 1;   weak = v where ρ > 1, else a
      choose    n times, from a random part R of who is left:  j = argmin over R of Σ_i min(cover_i, D_ij)
                j by D_weak if it leans (ρ_j > thr where v is weak, ρ_j < 1 ÷ thr where a is): it trains the weak one alone;
                else j by D: it trains both.  D between the gradients last seen of a client, D_a and D_v of one encoder
    `,
    notes: `
      A prelude: everybody trains for an epoch from the first model with prototypes of its own, and all that is kept are
      the gradients, c and ρ of the model as it was. A participation in both modalities refreshes a client's gradient in D,
      one in a single modality that in D_a or D_v, and for a client that has no other one in D as well (ours). A client
      of whom nothing was heard has gradients of zero and ρ 1. ρ is kept within [1 ÷ R, R]: a threshold of R or more never
      leaves a modality out. A class that nobody has shown yet is in no prototype loss. A client of both modalities that
      trains one receives both encoders, as ρ is measured with either. The paper's runs step by SGD with momentum 0.9 and a
      learning rate of 10⁻³ that falls to 10⁻⁴ after round 80: a step in training.schedule. The server holds N gradients of both
      encoders twice, and N² distances three times. Compression is refused: of what the prelude throws away nothing may be owed.
    `,
    sends: "its prototypes and their counts, and ρ_k; receives prototypes",
    keeps: "prototypes; of each client its last gradients of the encoders, their distances, and ρ",
    sources: [
      {
        by: "Fan et al.",
        title: "Overcome Modal Bias in Multi-modal Federated Learning via Balanced Modality Selection",
        year: 2024,
        url: "https://arxiv.org/abs/2401.00403",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    alpha: z.number().min(0).default(1).describe("α, weight of the prototype loss"),
    threshold: z.number().min(1).default(1).describe("thr; the paper's runs have 1, 1.5 and 2"),
    candidates: z.number().min(0).max(1).default(0.1).describe("|R| as a share of all clients, at least n of them"),
    mostImbalance: z.number().min(1).default(10).describe("R, the largest ρ_k"),
    momentum: z
      .number()
      .min(0)
      .lt(1)
      .exactOptional()
      .describe("of local SGD, 0.9 in the paper; the scenario's AdamW unless given"),
    localLearningRate: localRateField.localLearningRate.describe("of local steps; the scenario's unless given"),
    ...discountField,
  },
  make(options) {
    const { alpha, threshold, candidates, mostImbalance, momentum, localLearningRate, discounts } = options;

    const weightOf = (update: Update, group: number): number =>
      isWarmUp(update) ? 0 : averagingWeight(averagingRule, update, group);

    return {
      needs: ["modalities"],
      prelude: true,
      problems: tooMany,
      sampler: {
        select({ eligible, count, server: { vectors } }, setting, draws) {
          // A run without training has no gradients: nobody is like anybody.
          if (vectors.rho === undefined) {
            const drawn = draws.sample(eligible.length, Math.min(count, eligible.length));
            return { clients: drawn.map((at) => ({ client: eligible[at]! })), memory: null };
          }
          const picks = choose(eligible, count, knowledgeOf(vectors, setting), { threshold, share: candidates }, draws);
          return {
            clients: picks.map(({ client, modality }) => ({ client, notes: modality === null ? both : modality + 1 })),
            memory: null,
          };
        },
      },
      init: initialOf,
      plan(client, { vectors }, setting): Plan {
        const { classes, features, encoders, head } = modalitiesOf(setting);
        const has = client.budget;
        const mode = has === both ? ((client.chosen as number | undefined) ?? both) : has;
        const warmUp = isWarmUp(client);
        const inputs =
          warmUp || alpha === 0 ? [] : modalitiesIn(mode).flatMap((m) => prototypeInputs(m, vectors, setting));
        const parametersOf = (budget: number): number =>
          modalitiesIn(budget).reduce((sum, m) => sum + encoders[m]!.size, head);
        const received = inputs.reduce((sum, [, vector]) => sum + vector.length, 0);
        const found = modalitiesIn(has).length * classes * features + classes;
        return {
          kind: { variant: setting.variant(mode), ...({ mode, has, warmUp } satisfies Part) },
          ...ofRate(localLearningRate, setting),
          ...(warmUp && { effort: 1 / setting.epochs }),
          inputs: Object.fromEntries(inputs),
          bytes: {
            down: 4 * (parametersOf(has) + received),
            up: 4 * (parametersOf(mode) + found) + (has === both ? 8 : 0),
          },
        };
      },
      steps(kind, setting): Steps {
        const { mode, has, warmUp } = kind as unknown as Part;
        const { classes, features } = modalitiesOf(setting);
        const own = (at: StepContext, m: number): Prototypes =>
          prototypesOf(at.found(`sums${m}`, classes * features), at.found("counts", classes));
        const received = ({ given }: StepContext, m: number): Prototypes => ({
          means: reshape(given[`prototypes${m}`]!, [classes, features]),
          known: given[`known${m}`]!,
        });
        const sums: Probe = (at) => ({
          ...named("sums", has, (m) => classSums(at, m, classes)),
          counts: classCounts(at, classes),
        });
        const rights: Probe = (at) => named("right", has, (m) => rightOf(at, m, own(at, m)));
        const inputs = modalitiesIn(mode).flatMap((m) => [
          [`prototypes${m}`, classes * features],
          [`known${m}`, classes],
        ]);
        return {
          ...(momentum !== undefined && { optimizer: momentum === 0 ? "sgd" : { momentum } }),
          ...(alpha > 0 && {
            merges: false,
            objective: (at) => add(at.loss, scale(prototypeLoss(at, mode, warmUp ? own : received), alpha)),
            given: warmUp ? {} : Object.fromEntries(inputs),
          }),
          // What rests is not decayed either.
          ...(mode !== both && { moves: ({ graph }) => spread(setting.layout, restingBut(mode, graph, setting)) }),
          [warmUp ? "before" : "after"]: has === both ? [sums, rights] : [sums],
        };
      },
      reply({ found }, { kind }, _client, setting) {
        const { has } = kind as unknown as Part;
        const { features } = modalitiesOf(setting);
        const { counts, right0, right1 } = found;
        const mean = (sum: number, i: number) => sum / Math.max(1, counts![Math.floor(i / features)]!);
        const means = named("prototypes", has, (m) => found[`sums${m}`]!.map(mean));
        return {
          sent: { ...means, counts: counts!, ...(has === both && { rho: imbalanceOf(right0![0]!, right1![0]!) }) },
        };
      },
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin: (_server, { layout }): Sum => ({ mean: emptyMean(layout), found: [] }),
      fold({ mean, found }: Sum, update, setting) {
        foldMean(mean, update, setting.layout, discounts, weightOf);
        const { client, discount, sent, plan } = update;
        found.push({
          ...(plan.kind as unknown as Part),
          client,
          discount,
          sent,
          gradient: gradientOf(update, setting),
        });
      },
      finish({ mean, found }: Sum, server, setting) {
        if (found.length === 0) return server;
        const parameters = moved(mean, server.parameters, setting.layout, (_, delta) => delta);
        return { ...server, parameters, vectors: { ...server.vectors, ...refreshed(server.vectors, found, setting) } };
      },
    };

    /** ρ_k by how many examples each modality alone puts into the right class. */
    function imbalanceOf(a: number, v: number): number {
      if (a === v) return 1;
      return Math.min(mostImbalance, Math.max(1 / mostImbalance, a / v));
    }
  },
});

const isWarmUp = ({ round }: { readonly round: number }): boolean => round === 0;

/** One value for each modality, by name and number. */
const named = <Value>(name: string, budget: number, value: (modality: number) => Value): Record<string, Value> =>
  Object.fromEntries(modalitiesIn(budget).map((m) => [`${name}${m}`, value(m)]));

function modalitiesOf({ layout: { size, groups, modalities } }: Pick<Setting, "layout">) {
  if (modalities?.encoders.length !== 2) {
    throw new ScenarioError("strategy bmsfed balances two modalities, and the model has not two encoders");
  }
  const encoders = modalities.encoders.map((group) => {
    const { ranges } = groups[group]!;
    return { group, ranges, size: ranges.reduce((sum, { start, end }) => sum + end - start, 0) };
  });
  const width = encoders.reduce((sum, encoder) => sum + encoder.size, 0);
  return { ...modalities, encoders, width, head: size - width };
}

/** Of both encoders together in D, of one in D_a and D_v; of classes, means and how many examples are behind them. */
function initialOf(setting: Setting) {
  const { clients } = setting;
  const { width, classes, features } = modalitiesOf(setting);
  const distances = () => new Float64Array(clients * clients);
  return {
    vectors: {
      gradients: new Float32Array(clients * width),
      distances: distances(),
      aloneGradients: new Float32Array(clients * width),
      distances0: distances(),
      distances1: distances(),
      rho: new Float64Array(clients).fill(1),
      ...named("prototypes", both, () => new Float64Array(classes * features)),
      ...named("counts", both, () => new Float64Array(classes)),
    },
    notes: null,
  };
}

const mostBytes = 4 * 2 ** 30;

function tooMany(setting: Setting): Problem[] {
  const { clients } = setting;
  const bytes = clients * (8 * modalitiesOf(setting).width + 24 * clients);
  if (bytes <= mostBytes) return [];
  const text = `keeps gradients and distances of ${clients} clients, ${Math.ceil(bytes / 2 ** 30)} GiB; expected at most 4`;
  return [{ path: "type", text }];
}

/** Global prototypes of a modality, and which classes have one. */
const prototypeInputs = (m: number, vectors: Vectors, setting: Setting): [name: string, vector: Float64Array][] => {
  const { classes, features } = modalitiesOf(setting);
  const {
    [`prototypes${m}`]: means = new Float64Array(classes * features),
    [`counts${m}`]: counts = new Float64Array(classes),
  } = vectors;
  return [
    [`prototypes${m}`, Float64Array.from(means)],
    [`known${m}`, Float64Array.from(counts, (count) => (count > 0 ? 1 : 0))],
  ];
};

/** What pulls features to the prototypes of their classes: of the one modality that trains, or of the weaker of two. */
function prototypeLoss(at: StepContext, mode: number, prototypes: (at: StepContext, m: number) => Prototypes): Tensor {
  const { pass, mean } = at;
  const terms = modalitiesIn(mode).map((m) => byPrototypes(pass.features!(m), prototypes(at, m), pass.batch.targets!));
  const [a, v] = terms;
  if (v === undefined) return mean(a!.losses);
  const [scoreA, scoreV] = terms.map(({ probabilities }) => reduceSum(detach(probabilities), [0], true)) as [
    Tensor,
    Tensor,
  ];
  return add(mul(mean(v.losses), less(scoreV, scoreA)), mul(mean(a!.losses), less(scoreA, scoreV)));
}

/** 1 for the groups that move in a mode, `[groups]`. */
function restingBut(mode: number, graph: GraphBuilder, setting: Pick<Setting, "layout">): Tensor {
  const resting = modalitiesOf(setting).encoders.flatMap(({ group }, m) =>
    modalitiesIn(mode).includes(m) ? [] : [group],
  );
  const moving = setting.layout.groups.map((_, group) => (resting.includes(group) ? 0 : 1));
  return graph.constant(moving, [moving.length]);
}

function gradientOf(update: Update, setting: Setting): Float32Array {
  const { encoders, width } = modalitiesOf(setting);
  const values = sentValues(update);
  const gradient = new Float32Array(width);
  let at = 0;
  for (const { start, end } of encoders.flatMap(({ ranges }) => ranges)) {
    for (let i = start; i < end; i++) gradient[at++] = update.base[i]! - values[i]!;
  }
  return gradient;
}

function knowledgeOf(vectors: Vectors, setting: Setting): Knowledge {
  const { distances, distances0, distances1, rho } = vectors as Readonly<Record<string, Float64Array>>;
  let sum = 0;
  let examples = 0;
  for (let client = 0; client < setting.clients; client++) {
    sum += setting.examples(client) * rho![client]!;
    examples += setting.examples(client);
  }
  return { joint: distances!, alone: [distances0!, distances1!], rho: rho!, imbalance: sum / examples };
}

/** What a round has said, in the place of what was known before. */
function refreshed(before: Vectors, found: readonly Found[], setting: Setting): Vectors {
  const { clients } = setting;
  const { encoders, width } = modalitiesOf(setting);
  const first = encoders[0]!;
  const gradients = Float32Array.from(before.gradients!);
  const aloneGradients = Float32Array.from(before.aloneGradients!);
  const rho = Float64Array.from(before.rho!);
  const changed: { joint: number[]; alone: [number[], number[]] } = { joint: [], alone: [[], []] };
  for (const { client, mode, has, warmUp, gradient, sent } of found) {
    if (sent.rho !== undefined) rho[client] = sent.rho as number;
    if (mode === has) {
      gradients.set(gradient, client * width);
      changed.joint.push(client);
    }
    for (const m of warmUp || mode !== both ? modalitiesIn(mode) : []) {
      const [from, until] = m === 0 ? [0, first.size] : [first.size, width];
      aloneGradients.set(gradient.subarray(from, until), client * width + from);
      changed.alone[m as 0 | 1].push(client);
    }
  }
  const remeasured = (name: string, points: Float32Array, rows: readonly number[], from: number, until: number) =>
    measured(before[name] as Float64Array, points, rows, { clients, from, until });
  const classes = [0, 1].map((m) => {
    const { [`prototypes${m}`]: means, [`counts${m}`]: counts } = before as Readonly<Record<string, Float64Array>>;
    const parts = found.filter(({ has }) => modalitiesIn(has).includes(m)).map((one) => classesOf(one, m));
    return merged({ means: means!, counts: counts! }, parts);
  });
  return {
    gradients,
    distances: remeasured("distances", gradients, changed.joint, 0, width),
    aloneGradients,
    distances0: remeasured("distances0", aloneGradients, changed.alone[0], 0, first.size),
    distances1: remeasured("distances1", aloneGradients, changed.alone[1], first.size, width),
    rho,
    ...named("prototypes", both, (m) => classes[m]!.means),
    ...named("counts", both, (m) => classes[m]!.counts),
  };
}

const classesOf = ({ sent, discount }: Found, m: number): ClassMeans => ({
  means: sent[`prototypes${m}`] as Float64Array,
  counts: (sent.counts as Float64Array).map((count) => discount * count),
});
