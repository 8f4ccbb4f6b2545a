/** What runs at a budget in the end: one model, or several whose predictions are averaged. */
import type { Scope } from "../tasks/scope.ts";
import type { Mix, Variant } from "../tasks/task.ts";

export interface DeployedModel {
  readonly parameters: Float32Array;
  readonly variant: Variant;
  /** Parameters that are used; all unless given. */
  readonly scope?: Scope;
  /** What its variant asks for besides. */
  readonly inputs?: Readonly<Record<string, Float32Array>>;
}

export interface Deployment {
  readonly models: readonly [DeployedModel, ...DeployedModel[]];
  /** What is averaged where there are several; probabilities unless given. */
  readonly mix?: Mix;
}
