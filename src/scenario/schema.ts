/**
 * The plain data of a scenario: every field, its shape and its default. `check.ts` says which combinations make sense.
 */
import { z } from "zod";
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
  source: sourceSchema.prefault({ type: "instructions", examples: 4_000 }),
  /** How the examples, or those of `sizes`, are divided among the clients; Dirichlet with alpha 0.5 unless given. */
  partition: partitionSchema.exactOptional(),
  /** How a prompt is laid out; by default what suits the model's tokenizer. */
  template: templateSchema.exactOptional(),
  /** Share of the examples that no client gets, when below 1, else their number. */
  heldOut: positive.default(0.1),
  /**
   * Share of its examples that each client keeps from training, whatever the method; in the end they say how well it is
   * served itself. None unless given, but where a method keeps some.
   */
  heldOutPerClient: z.number().gt(0).lt(1).exactOptional(),
  /** Longest example, in tokens; the model's own limit unless given. */
  maxTokens: z
    .int()
    .min(8)
    .max(2 ** 20)
    .exactOptional(),
  /** Runs without training may do without data: then clients hold this much, or on average if a partition is given. */
  sizes: z.strictObject({ examplesPerClient: lawSchema, tokensPerExample: positive }).exactOptional(),
});

const usualPartition = partitionSchema.parse({ type: "dirichlet", alpha: 0.5 });

/** Sizes need no partition: their law says what each client holds. */
const dataSchema = dataFields.transform((data) =>
  data.partition !== undefined || data.sizes !== undefined ? data : { ...data, partition: usualPartition },
);

const roundsSchema = z.strictObject({
  /** The names of checkpoints have six digits for it. */
  count: z.int().min(0).max(999_999),
  /** Updates a round is made of. */
  cohort: count,
  /** Virtual milliseconds from the start of a round to its end; see `minutes`. Without one a round waits for everyone. */
  deadline: patience.default(null),
  /** With fewer updates than this the adapter stays as it is. */
  minUpdates: count.default(1),
  /** Invitations per member of the cohort. */
  overSelection: z.number().min(1).default(1),
  /** Any other rule of rounds; it brings its own cohort and deadline. */
  policy: z.record(z.string(), z.unknown()).exactOptional(),
  sampler: samplerSpecSchema.prefault(usualSamplerSpec),
  /** Rounds a client sits out after it was invited. */
  minimumGap: z.int().min(0).default(0),
  /** How long a round goes on without hearing of any client before it is closed as it is, in virtual milliseconds. */
  patience: duration.default(86_400_000),
  /** Runs a scenario in which certainly no update can ever be counted, which is otherwise held to be a mistake. */
  mayStayEmpty: z.boolean().exactOptional(),
});

/** What the modes mean: `effort.ts`. */
const effortSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("fit"),
    /** Milliseconds of virtual time from invitation to report; that of the rounds unless given. */
    deadline: duration.exactOptional(),
  }),
  z.strictObject({
    type: z.literal("uniform"),
    probability: z.number().min(0).max(1).default(0.5),
    fixed: z.boolean().default(false),
  }),
  z.strictObject({
    type: z.literal("epochs"),
    from: z.int().min(1),
    to: z.int().min(1),
    fixed: z.boolean().default(false),
  }),
]);

const trainingSchema = z.strictObject({
  epochs: count.default(1),
  batchSize: count.default(16),
  learningRate: positive.default(1e-3),
  /** What becomes of all local learning rates from round to round; they stay as they are unless given. */
  schedule: scheduleSchema.exactOptional(),
  /** Optimizer steps a client takes at most in a round. */
  maxSteps: count.exactOptional(),
  /** How much of that a client does in a round; all of it unless given. */
  effort: effortSchema.exactOptional(),
  beta1: probability.default(0.9),
  beta2: probability.default(0.999),
  epsilon: positive.default(1e-8),
  weightDecay: z.number().min(0).default(0),
  /** Largest global gradient norm; null leaves gradients alone. */
  clipNorm: positive.nullable().default(1),
  /** A model that diverges is then a finding like others, and no reason for an exit code of its own. */
  mayDiverge: z.boolean().exactOptional(),
});

const rescalerSchema = z.strictObject({
  /** False keeps every factor at its initial value. */
  learn: z.boolean().default(true),
  learningRate: positive.default(1e-2),
  /** 1, K/k, or m_K/m_k with m_k the base model's mean sum of the k largest router probabilities on held-out examples. */
  init: z.enum(["one", "ratio", "mass"]).default("one"),
  scope: z.enum(["local", "budget", "global"]).default("local"),
  /** One factor for all layers in the place of one for each. */
  shared: z.boolean().default(false),
});

export const scenarioSchema = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,64}$/, "letters, digits, dots, dashes, at most 64"),
  /** What the scenario is there to find out. */
  question: z.string().exactOptional(),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(1),
  /** What is trained; a language model unless given. */
  task: taskSchema.prefault({ type: "llm" }),
  ...llmFields,
  /** A finished run's folder, or that of an adapter as PEFT or a run leaves it, whose parameters round 0 begins with. */
  warmStart: z.string().min(1).exactOptional(),
  data: dataSchema.prefault({}),
  fleet: tiersSchema,
  regions: regionsSchema.exactOptional(),
  /** What a token costs at each budget, as measured by `flame calibrate`; by default what its FLOPs are. */
  calibration: calibrationSchema.exactOptional(),
  world: worldSchema.prefault({}),
  rounds: roundsSchema,
  training: trainingSchema.prefault({}),
  /** Clients that send something else than what they learned: this share of a tier, or of the fleet. */
  attackers: z
    .array(
      z.strictObject({
        share: probability,
        tier: z.string().exactOptional(),
        attack: z.discriminatedUnion("type", [
          z.strictObject({ type: z.literal("sign-flip"), factor: positive.default(1) }),
          z.strictObject({ type: z.literal("scaling"), factor: positive.default(10) }),
          z.strictObject({ type: z.literal("noise"), factor: positive.default(1) }),
          z.strictObject({ type: z.literal("non-finite") }),
          z.strictObject({ type: z.literal("label-flip") }),
          /** Learns from the model that the client was sent so many invitations ago. */
          z.strictObject({ type: z.literal("stale"), lag: count.default(1) }),
        ]),
      }),
    )
    .default([]),
  /** Simulates fleet, network and rounds, and trains nothing. */
  timingOnly: z.boolean().default(false),
  strategy: strategySpecSchema.prefault(usualStrategySpec),
  rescaler: rescalerSchema.prefault({}),
  /** Rounds from one evaluation to the next; the last round is always evaluated. */
  evaluateEvery: count.default(1),
  evaluationExamples: count.default(256),
  /** When the run ends before its last round; it leaves the best adapter beside the last. */
  stop: stopSchema.exactOptional(),
  /** Budgets at which the global model is evaluated; those of the fleet and the model's own unless given. */
  evaluateAt: z.array(count).min(1).exactOptional(),
  /** `full` writes every event to events.jsonl, about 90 bytes each; `digest` keeps only what tells two runs apart. */
  trace: z.enum(["full", "digest"]).default("full"),
  checkpoints: z
    .strictObject({
      /** Rounds. Unless given, every round; without training as often as takes no more than a fiftieth of the time. */
      every: count.exactOptional(),
      keep: count.default(3),
    })
    .prefault({}),
  expect: z.array(expectationSpecSchema).default([]),
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
