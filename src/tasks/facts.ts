/** What is said of a task: what it offers strategies, what tables and plots call things, what is measured besides the loss. */
import type { Ability } from "./task.ts";

/** What is known of a model after an evaluation. */
export interface Scores {
  /** Mean over targets, in nats. */
  readonly loss: number;
  /** Share of targets predicted right: of response tokens, of images. */
  readonly accuracy: number;
  /** Share of examples all of whose targets are predicted: whose whole response greedy decoding would write. */
  readonly exactMatch: number;
  /** Means over examples of what a task measures besides. */
  readonly more?: Readonly<Record<string, number>> | undefined;
}

export interface Metric {
  readonly key: string;
  readonly title: string;
  /** A sentence for a plot. */
  readonly meaning: string;
  readonly form: "share" | "decibel" | "number";
  readonly better: "high" | "low";
  of(scores: Scores): number;
}

export interface TaskFacts {
  /** What strategies may ask of it. */
  readonly abilities: readonly Ability[];
  /** What a strategy has to ask of it: nothing here would train without. */
  readonly demands?: Ability;
  /** `experts per token`, `k` */
  readonly budget: { readonly name: string; readonly symbol: string };
  /** What the loss is a mean over: `response token`, `image`. */
  readonly target: string;
  /** The first is what tables show. */
  readonly metrics: readonly [Metric, ...Metric[]];
}

const accuracy = (meaning: string): Metric => ({
  key: "accuracy",
  title: "accuracy",
  meaning,
  form: "share",
  better: "high",
  of: ({ accuracy }) => accuracy,
});

const llm: TaskFacts = {
  abilities: ["low-rank", "experts", "experts-only", "routers", "beside", "members", "blocks", "slices", "readout"],
  budget: { name: "experts per token", symbol: "k" },
  target: "response token",
  metrics: [
    {
      key: "exactMatch",
      title: "exact match",
      meaning: "Share of held-out examples whose whole response greedy decoding writes without a mistake.",
      form: "share",
      better: "high",
      of: ({ exactMatch }) => exactMatch,
    },
    {
      key: "accuracy",
      title: "token accuracy",
      meaning: "Share of held-out response tokens predicted right.",
      form: "share",
      better: "high",
      of: ({ accuracy }) => accuracy,
    },
  ],
};

const vision: TaskFacts = {
  abilities: ["blocks", "members", "readout", "labels"],
  budget: { name: "blocks that train", symbol: "b" },
  target: "image",
  metrics: [accuracy("Share of held-out images whose class is predicted.")],
};

const restore: TaskFacts = {
  abilities: ["slices"],
  budget: { name: "candidates of a picture", symbol: "k" },
  target: "picture",
  metrics: [
    {
      key: "psnr",
      title: "PSNR",
      meaning: "Mean peak signal-to-noise ratio of held-out pictures, clipped to [0, 1]: 10·log₁₀ 1/error².",
      form: "decibel",
      better: "high",
      of: ({ more }) => more?.psnr ?? Number.NaN,
    },
    {
      key: "ranks",
      title: "routed ranks",
      meaning: "Routed ranks of each product that a held-out picture uses; the rest of k are zero slots.",
      form: "number",
      better: "low",
      of: ({ more }) => more?.ranks ?? 0,
    },
  ],
};

const refactor: TaskFacts = {
  abilities: ["cut"],
  demands: "cut",
  budget: { name: "expert slots", symbol: "b" },
  target: "response token",
  metrics: [
    {
      key: "perplexity",
      title: "perplexity",
      meaning: "Of held-out response tokens: e to the mean loss. 1 is certainty.",
      form: "number",
      better: "low",
      of: ({ loss }) => Math.exp(loss),
    },
    {
      key: "agreement",
      title: "agreement",
      meaning: "Share of held-out tokens whose expert is the one that covers most of what the dense model does.",
      form: "share",
      better: "high",
      of: ({ more }) => more!.agreed! / more!.tokens!,
    },
    llm.metrics[0],
  ],
};

const pregating: TaskFacts = {
  abilities: ["gates"],
  demands: "gates",
  budget: llm.budget,
  target: "response token",
  metrics: [
    {
      key: "gap",
      title: "gap",
      meaning: "Held-out loss above that of the mixture by its own routers: the price of choosing ahead, in nats.",
      form: "number",
      better: "low",
      of: ({ loss, more }) => loss - more!.own! / more!.targets!,
    },
    {
      key: "agreement",
      title: "agreement",
      meaning: "Share of the experts that the layers' own routers choose for held-out tokens which were chosen ahead.",
      form: "share",
      better: "high",
      of: ({ more }) => more!.agreed! / more!.tokens!,
    },
    llm.metrics[0],
  ],
};

const twoView: TaskFacts = {
  abilities: ["modalities", "labels"],
  budget: { name: "views", symbol: "b" },
  target: "picture",
  metrics: [
    accuracy("Share of held-out pictures whose class is predicted: by one view at 1, by the other at 2, by both at 3."),
  ],
};

const coloured: TaskFacts = {
  abilities: ["heads", "labels"],
  budget: { name: "model", symbol: "b" },
  target: "image",
  metrics: [accuracy("Share of held-out images predicted right, whose colours follow a rule that no client has.")],
};

const tabular: TaskFacts = {
  abilities: ["labels"],
  budget: { name: "model", symbol: "b" },
  target: "row",
  metrics: [accuracy("Share of held-out rows whose class is predicted.")],
};

const taskFacts = {
  coloured,
  llm,
  pregating,
  refactor,
  restore,
  tabular,
  "two-view": twoView,
  vision,
} as const satisfies Record<string, TaskFacts>;

export type TaskType = keyof typeof taskFacts;

export const taskTypes = Object.keys(taskFacts) as [TaskType, ...TaskType[]];

export const factsOf = (type: TaskType): TaskFacts => taskFacts[type];

/** Whether a step can be built without asking the strategy. On some tasks nothing would train in it. */
export const hasPlainStep = (type: TaskType): boolean => factsOf(type).demands === undefined;

/** Those that have what a strategy needs, and train with it. */
export const tasksWith = (needs: readonly Ability[] = []): TaskType[] =>
  taskTypes.filter((type) => {
    const { abilities, demands } = factsOf(type);
    return needs.every((need) => abilities.includes(need)) && (demands === undefined || needs.includes(demands));
  });

/** `k = 8` */
export const budgetIn = ({ budget: { symbol } }: TaskFacts, budget: number): string => `${symbol} = ${budget}`;
