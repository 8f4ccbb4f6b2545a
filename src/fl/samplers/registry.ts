/** Client samplers by name: from plain data to a sampler, and the schema of that data. */
import { registryOf, type Spec } from "../define.ts";
import * as all from "./all.ts";

export * from "./all.ts";

export const samplers = registryOf("sampler", all);
export const { schema: samplerSpecSchema, fromSpec: samplerFromSpec } = samplers;

/** What a scenario that names no sampler gets. */
export const usualSamplerSpec = { type: all.uniform.type } satisfies Spec;
