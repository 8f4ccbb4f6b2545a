/** Read-ME in a model that is a mixture already: one router ahead of all layers learns what theirs say. */
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { add, div, mul, reduceSum, scale } from "../../../tensor/ops/arithmetic.ts";
import { averagingBy, averagingFields } from "../../averaging.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { crossEntropyTo } from "./target.ts";

export const readMeGates = defineStrategy({
  type: "read-me-gates",
  about: {
    adapts: "the routers of a mixture: one ahead of all layers is distilled from them, and takes their place",
    formula: `
      q_l = softmax(R_l·x_l)                    what layer l's own router says of a token, frozen
      perLayer   G ← FedAvg of −(1/L)·Σ_l Σ q_l·log softmax(G_l(x_≤t))
      shared     G ← FedAvg of −Σ q·log softmax(G(x_≤t)),   q = (1/L)·Σ_l q_l
    `,
    notes: `
      Every token of a client teaches; the mixture is frozen and goes by its own routers while it does. Choices are known
      before the first layer begins, so that experts can be loaded ahead of time; what that costs in loss is recorded with
      every evaluation, as the gap to the mixture by its own routers at the same k. With shared heads expert j of one layer
      has to stand for expert j of every other, which a mixture that was not trained so does not promise.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Cai et al.",
        title: "Read-ME: Refactorizing LLMs as Router-Decoupled Mixture of Experts with System Co-Design",
        year: 2024,
        url: "https://arxiv.org/abs/2410.19123",
      },
    ],
    certainty: "style of: the paper cuts a dense model; that a mixture teaches, and federated, is ours",
    reduces: [],
  },
  options: averagingFields,
  make: (options) => ({
    ...averagingBy(options),
    needs: ["gates"],
    ownObjective: true,
    plan: (_client, _server, setting) => ({
      kind: { variant: { ...setting.variant(setting.budgets.at(-1)!), teacher: 1 } },
    }),
    steps: () => ({
      merges: false,
      objective({ pass }) {
        const taught = pass.teachers!();
        const heads = pass.routers!;
        const mean = (terms: readonly Tensor[]) => scale(terms.reduce(add), 1 / terms.length);
        const perToken =
          heads.length === 1
            ? crossEntropyTo(mean(taught), heads[0]!.logits)
            : mean(taught.map((q, layer) => crossEntropyTo(q, heads[layer]!.logits)));
        const present = pass.tokens!();
        return div(reduceSum(mul(perToken, present), [0]), reduceSum(present, [0]));
      },
    }),
  }),
});
