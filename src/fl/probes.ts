/** What methods want to know of all local examples at once. */
import type { Steps } from "../tasks/steps.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import { addScalar, reduceSum, scale } from "../tensor/ops/arithmetic.ts";
import { detach } from "../tensor/ops/discrete.ts";
import type { Trained } from "./update.ts";

/** A one for every element: summed, it counts them. */
export const onesOf = (like: Tensor): Tensor => addScalar(scale(detach(like), 0), 1);

/** The client's mean loss at the model it received, through {@link receivedLoss}. */
export const lossBefore = (): Steps => ({
  before: ({ pass }) => ({
    loss: reduceSum(pass.losses, [0], true),
    targets: reduceSum(onesOf(pass.losses), [0], true),
  }),
});

/** In nats. */
export const receivedLoss = ({ found }: Pick<Trained, "found">): number => found.loss![0]! / found.targets![0]!;
