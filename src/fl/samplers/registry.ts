/** Every client sampler by name: from plain data to a sampler, and the schema of that data. */
import { z } from "zod";
import { unreachable } from "../../base/errors.ts";
import { parseSpec } from "../problem.ts";
import type { ClientSampler, SamplerSpec } from "../sampler.ts";
import { oort, oortSpec } from "./oort.ts";
import { powerOfChoice, powerOfChoiceSpec } from "./power-of-choice.ts";
import { roundRobin, roundRobinSpec } from "./round-robin.ts";
import { tifl, tiflSpec } from "./tifl.ts";
import { uniform, uniformSpec } from "./uniform.ts";
import { weighted, weightedSpec } from "./weighted.ts";

export { oort, powerOfChoice, roundRobin, tifl, uniform, weighted };

export const samplerSpecSchema = z.discriminatedUnion("type", [
  uniformSpec,
  weightedSpec,
  roundRobinSpec,
  powerOfChoiceSpec,
  oortSpec,
  tiflSpec,
]);

/** The sampler a spec names. `samplerFromSpec(s.spec)` is `s` again. */
export function samplerFromSpec(spec: SamplerSpec): ClientSampler {
  const parsed = parseSpec("sampler", samplerSpecSchema, spec);
  switch (parsed.type) {
    case "uniform":
      return uniform();
    case "weighted":
      return weighted();
    case "round-robin":
      return roundRobin();
    case "power-of-choice":
      return powerOfChoice(parsed);
    case "oort":
      return oort(parsed);
    case "tifl":
      return tifl(parsed);
    default:
      return unreachable(parsed);
  }
}
