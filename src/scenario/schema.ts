/**
 * The plain data of a scenario: every field, its shape and its default. `check.ts` says which combinations make sense.
 */
import * as z from "zod";
import { count, positive, probability } from "../base/fields.ts";
import { given } from "../base/given.ts";
import { partitionSchema } from "../data/partition.ts";
import { templateSchema } from "../data/template.ts";
import type { Spec } from "../fl/define.ts";
import { scheduleSchema } from "../fl/local-rate.ts";
import { duration, patience } from "../fl/policies/fields.ts";
import { usualPolicySpec } from "../fl/policies/registry.ts";
import { samplerSpecSchema, usualSamplerSpec } from "../fl/samplers/registry.ts";
import { strategySpecSchema, usualStrategySpec } from "../fl/strategies/registry.ts";
import { stopSchema } from "../records/stopping.ts";
import { regionsSchema, tiersSchema } from "../sim/fleet/fleet-spec.ts";
import { lawSchema } from "../sim/fleet/laws.ts";
import { worldSchema } from "../sim/world-spec.ts";
import { llmFields } from "../tasks/llm/fields.ts";
import { taskSchema } from "../tasks/open/fields.ts";
import { sourceSchema } from "../tasks/sources.ts";
import { calibrationSchema } from "./calibration.ts";
import { expectationSpecSchema } from "./expect.ts";

const dataFields = z.strictObject({
  source: sourceSchema
    .prefault({ type: "instructions", examples: 4_000 })
    .describe("what is learned from: generated instructions unless given"),
  partition: partitionSchema
    .exactOptional()
    .describe(
      "how the examples, or those of `sizes`, are divided among the clients; Dirichlet with alpha 0.5 unless given",
    ),
  template: templateSchema
    .exactOptional()
    .describe("how a prompt is laid out; by default what suits the model's tokenizer"),
  heldOut: positive.default(0.1).describe("share of the examples that no client gets, when below 1, else their number"),
  heldOutPerClient: z
    .number()
    .gt(0)
    .lt(1)
    .exactOptional()
    .describe(
      "share of its examples that each client keeps from training, whatever the method; in the end they say how well it is served itself. None unless given, but where a method keeps some",
    ),
  maxTokens: z
    .int()
    .min(8)
    .max(2 ** 20)
    .exactOptional()
    .describe("longest example, in tokens; the model's own limit unless given"),
  sizes: z
    .strictObject({
      examplesPerClient: lawSchema.describe("examples of a client, one number or a law"),
      tokensPerExample: positive.describe("tokens of an example, on average"),
    })
    .exactOptional()
    .describe(
      "runs without training may do without data: then clients hold this much, or on average if a partition is given",
    ),
});

const usualPartition = partitionSchema.parse({ type: "dirichlet", alpha: 0.5 });

/** Sizes need no partition: their law says what each client holds. */
const dataSchema = dataFields.transform((data) =>
  data.partition !== undefined || data.sizes !== undefined ? data : { ...data, partition: usualPartition },
);

const roundsSchema = z.strictObject({
  count: z.int().min(0).max(999_999).describe("rounds of the run; 0 only evaluates the base model"),
  cohort: count.describe("updates a round is made of"),
  deadline: patience
    .default(null)
    .describe("virtual milliseconds from the start of a round to its end; null waits for everyone"),
  minUpdates: count.default(1).describe("with fewer updates than this the adapter stays as it is"),
  overSelection: z.number().min(1).default(1).describe("invitations per member of the cohort"),
  policy: z
    .record(z.string(), z.unknown())
    .exactOptional()
    .describe("any other rule of rounds, in the place of this cohort, deadline, minUpdates and overSelection"),
  sampler: samplerSpecSchema
    .prefault(usualSamplerSpec)
    .describe("who is invited: every eligible client alike unless given"),
  minimumGap: z.int().min(0).default(0).describe("rounds a client sits out after it was invited"),
  patience: duration
    .default(86_400_000)
    .describe(
      "how long a round goes on without hearing of any client before it is closed as it is, in virtual milliseconds",
    ),
  mayStayEmpty: z
    .boolean()
    .exactOptional()
    .describe(
      "runs a scenario in which certainly no update can ever be counted, which is otherwise held to be a mistake",
    ),
});

const fixed = z.boolean().default(false).describe("whether a client keeps what it drew for all rounds");

/** What the modes mean: `effort.ts`. */
const effortSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("fit"),
      deadline: duration
        .exactOptional()
        .describe("milliseconds of virtual time from invitation to report; that of the rounds unless given"),
    })
    .describe("as many steps as the device can take before a deadline; at least one"),
  z
    .strictObject({
      type: z.literal("uniform"),
      probability: z
        .number()
        .min(0)
        .max(1)
        .default(0.5)
        .describe("how likely a client does a part only, a uniform number of its steps"),
      fixed,
    })
    .describe("now and then a uniform number of the steps only"),
  z
    .strictObject({
      type: z.literal("epochs"),
      from: z.int().min(1).describe("fewest epochs"),
      to: z.int().min(1).describe("most epochs"),
      fixed,
    })
    .describe("a uniform number of epochs"),
]);

const trainingSchema = z.strictObject({
  epochs: count.default(1).describe("passes of a client over its examples in a round"),
  batchSize: count.default(16).describe("examples of an optimizer step"),
  learningRate: positive.default(1e-3).describe("of AdamW, at the clients"),
  schedule: scheduleSchema
    .exactOptional()
    .describe("what becomes of all local learning rates from round to round; they stay as they are unless given"),
  maxSteps: count.exactOptional().describe("optimizer steps a client takes at most in a round"),
  effort: effortSchema
    .exactOptional()
    .describe("how much of its training a client does in a round; all of it unless given"),
  beta1: probability.default(0.9).describe("AdamW: how much of the mean gradient stays from step to step"),
  beta2: probability.default(0.999).describe("AdamW: how much of the mean squared gradient stays from step to step"),
  epsilon: positive.default(1e-8).describe("AdamW: added to the root of the mean squared gradient"),
  weightDecay: z
    .number()
    .min(0)
    .default(0)
    .describe("a step takes learningRate · weightDecay of every parameter off, whatever the optimizer"),
  clipNorm: positive.nullable().default(1).describe("largest global gradient norm; null leaves gradients alone"),
  mayDiverge: z
    .boolean()
    .exactOptional()
    .describe("a model that diverges is then a finding like others, and no reason for an exit code of its own"),
});

const attackFactor = (usual: number) =>
  positive.default(usual).describe("what the delta, or the noise, is multiplied by");

const rescalerSchema = z.strictObject({
  learn: z.boolean().default(true).describe("false keeps every factor at its initial value"),
  learningRate: positive.default(1e-2).describe("of the factors"),
  init: z
    .enum(["one", "ratio", "mass"])
    .default("one")
    .describe(
      "where factors begin: at 1, K/k, or m_K/m_k with m_k the base model's mean sum of the k largest router probabilities on held-out examples",
    ),
  scope: z
    .enum(["local", "budget", "global"])
    .default("local")
    .describe("whose factors a client goes on from: its own, the mean of its budget's clients, or that of all"),
  shared: z.boolean().default(false).describe("one factor for all layers in the place of one for each"),
});

export const scenarioSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.-]{1,64}$/, "letters, digits, dots, dashes, at most 64")
    .describe("what run folders and reports call it"),
  question: z.string().exactOptional().describe("what the scenario is there to find out"),
  seed: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(1)
    .describe("of all chance in the run: the same seed gives the same bytes"),
  task: taskSchema.prefault({ type: "llm" }).describe("what is trained; a language model unless given"),
  ...llmFields,
  warmStart: z
    .string()
    .min(1)
    .exactOptional()
    .describe(
      "a finished run's folder, or that of an adapter as PEFT or a run leaves it, whose parameters round 0 begins with",
    ),
  data: dataSchema.prefault({}).describe("the examples, and how clients share them"),
  fleet: tiersSchema.describe("the devices, as tiers of clients that have much in common"),
  regions: regionsSchema
    .exactOptional()
    .describe("where clients live, for shocks and time zones; one place unless given"),
  calibration: calibrationSchema
    .exactOptional()
    .describe("what a token costs at each budget, as measured by `flame calibrate`; by default what its FLOPs are"),
  world: worldSchema
    .prefault({})
    .describe("network, availability and failures; unless given, everybody is there and nothing fails"),
  rounds: roundsSchema.describe("how many rounds, of whom, and when one ends"),
  training: trainingSchema.prefault({}).describe("what a client does in a round, by AdamW"),
  attackers: z
    .array(
      z.strictObject({
        share: probability.describe("how likely a client is one"),
        tier: z.string().exactOptional().describe("whose clients they are; of the whole fleet unless given"),
        attack: z
          .discriminatedUnion("type", [
            z
              .strictObject({ type: z.literal("sign-flip"), factor: attackFactor(1) })
              .describe("sends its delta the other way round"),
            z
              .strictObject({ type: z.literal("scaling"), factor: attackFactor(10) })
              .describe("sends more of its delta than there is"),
            z
              .strictObject({ type: z.literal("noise"), factor: attackFactor(1) })
              .describe("sends its delta with normal noise as large as this is"),
            z.strictObject({ type: z.literal("non-finite") }).describe("sends values that are no numbers"),
            z.strictObject({ type: z.literal("label-flip") }).describe("learns from wrong answers"),
            z
              .strictObject({ type: z.literal("stale"), lag: count.default(1).describe("invitations ago") })
              .describe("learns from the model that the client was sent so many invitations ago"),
          ])
          .describe("what they send"),
      }),
    )
    .default([])
    .describe("clients that send something else than what they learned"),
  timingOnly: z.boolean().default(false).describe("simulates fleet, network and rounds, and trains nothing"),
  strategy: strategySpecSchema
    .prefault(usualStrategySpec)
    .describe("how updates become the next model; `flame methods NAME` explains each"),
  rescaler: rescalerSchema
    .prefault({})
    .describe("the learned factors s_i on the SMoE output of clients below the full budget"),
  evaluateEvery: count
    .default(1)
    .describe("rounds from one evaluation to the next; the last round is always evaluated"),
  evaluationExamples: count.default(256).describe("held-out examples of an evaluation"),
  stop: stopSchema
    .exactOptional()
    .describe("when the run ends before its last round; it leaves the best adapter beside the last"),
  evaluateAt: z
    .array(count)
    .min(1)
    .exactOptional()
    .describe("budgets at which the global model is evaluated; those of the fleet and the model's own unless given"),
  trace: z
    .enum(["full", "digest"])
    .default("full")
    .describe(
      "`full` writes every event to events.jsonl, about 90 bytes each; `digest` keeps only what tells two runs apart",
    ),
  checkpoints: z
    .strictObject({
      every: count
        .exactOptional()
        .describe(
          "rounds from one to the next. Unless given, every round; without training as often as takes no more than a fiftieth of the time",
        ),
      keep: count.default(3).describe("the latest ones that stay"),
    })
    .prefault({})
    .describe("states that a run can be continued from"),
  expect: z
    .array(expectationSpecSchema)
    .default([])
    .describe("claims about the run, judged at its end; one that does not hold gives exit code 3"),
});

export type ScenarioData = z.output<typeof scenarioSchema>;
export type ScenarioFields = z.input<typeof scenarioSchema>;

/** The policy that was given, or the one that the fields of `rounds` describe. */
export const policySpecOf = ({ rounds }: ScenarioData): Spec =>
  rounds.policy === undefined ? usualPolicySpec(rounds) : (rounds.policy as Spec);

/** The fields that describe what is trained. */
export const taskFieldsOf = ({
  task,
  model,
  base,
  lora,
  rescaler,
}: Pick<ScenarioData, "task" | "model" | "base" | "lora" | "rescaler">): unknown =>
  task.type === "llm" ? { model, ...given({ base }), lora, sharedRescaler: rescaler.shared } : task;
