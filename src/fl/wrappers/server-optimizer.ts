/** Any strategy whose result the server takes for a gradient. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { ParameterLayout, Range } from "../../tasks/layout.ts";
import type { About } from "../about.ts";
import { nextVariance } from "../second-moment.ts";
import type { ServerState, Strategy } from "../strategy.ts";

export const aboutServerOptimizer: About = {
  adapts: "the server's step: momentum, Adam, Yogi or Adagrad on what the method would change",
  formula: `
    D = θ' − θ                                      θ': the parameters as the method itself would set them
    momentum:  m ← β₁·m + D,   θ ← θ + η_s·m
    others:    m ← β₁·m + (1 − β₁)·D,   θ ← θ + η_s·m ÷ (√v + τ)
    adam:      v ← β₂·v + (1 − β₂)·D²
    yogi:      v ← v − (1 − β₂)·D²·sign(v − D²)
    adagrad:   v ← v + D²
  `,
  notes: "v starts at τ². A group in which the method changes nothing rests, and so do its moments.",
  sends: null,
  keeps: "m and v",
  sources: [
    {
      by: "Reddi et al.",
      title: "Adaptive Federated Optimization",
      year: 2021,
      url: "https://arxiv.org/abs/2003.00295",
    },
  ],
  certainty: "as published",
  reduces: [
    {
      options: { serverStep: { type: "momentum", beta1: 0, learningRate: 1 } },
      gives: ["program", "values"],
    },
  ],
};

export const serverOptimizerFields = {
  type: z.enum(["momentum", "adam", "yogi", "adagrad"]).describe("how D becomes a step"),
  learningRate: z.number().positive().default(1e-2).describe("η_s"),
  beta1: z.number().min(0).lt(1).default(0.9).describe("β₁"),
  beta2: z.number().min(0).lt(1).default(0.99).describe("β₂"),
  tau: z.number().positive().default(1e-3).describe("τ: how small √v may become in the division"),
};

export type ServerOptimizerOptions = z.output<z.ZodObject<typeof serverOptimizerFields>>;

export function serverOptimized<Sum>(host: Strategy<Sum>, options: ServerOptimizerOptions): Strategy<Sum> {
  if (host.sums === "products") {
    throw new ScenarioError(
      `strategy.serverStep: ${host.name} sums products, and what comes out is no step of factors`,
    );
  }
  return {
    ...host,
    name: `${host.name}+${options.type}(η=${options.learningRate})`,
    finish(sum, server, setting, at) {
      const next = host.finish(sum, server, setting, at);
      const stepped = (next: ServerState) => (next === server ? next : step(server, next, setting.layout, options));
      return next instanceof Promise ? next.then(stepped) : stepped(next);
    },
  };
}

function step(server: ServerState, next: ServerState, layout: ParameterLayout, options: ServerOptimizerOptions) {
  const m = Float64Array.from(server.vectors.serverM ?? new Float64Array(layout.size));
  const v = Float64Array.from(server.vectors.serverV ?? new Float64Array(layout.size).fill(options.tau ** 2));
  const parameters = next.parameters.slice();
  const stepAt = stepOf(options, m, v);
  const moved = layout.groups.filter(({ ranges }) => ranges.some((range) => isMoved(server, next, range)));
  for (const { start, end } of moved.flatMap(({ ranges }) => ranges)) {
    for (let i = start; i < end; i++) {
      const change = stepAt(i, next.parameters[i]! - server.parameters[i]!);
      // A zero leaves the value as it is, the sign of a zero included.
      parameters[i] = change === 0 ? server.parameters[i]! : server.parameters[i]! + change;
    }
  }
  const moments = options.type === "momentum" ? { serverM: m } : { serverM: m, serverV: v };
  return { ...next, parameters, vectors: { ...next.vectors, ...moments } };
}

function isMoved(before: ServerState, after: ServerState, { start, end }: Range): boolean {
  for (let i = start; i < end; i++) if (!Object.is(after.parameters[i], before.parameters[i])) return true;
  return false;
}

/** θ moves by what this gives for coordinate i; moments are written in place. */
function stepOf({ type, learningRate, beta1, beta2, tau }: ServerOptimizerOptions, m: Float64Array, v: Float64Array) {
  return (i: number, change: number): number => {
    if (type === "momentum") {
      m[i] = beta1 * m[i]! + change;
      return learningRate * m[i]!;
    }
    const square = change * change;
    m[i] = beta1 * m[i]! + (1 - beta1) * change;
    v[i] = nextVariance(type, v[i]!, square, beta2);
    return (learningRate * m[i]!) / (Math.sqrt(v[i]!) + tau);
  };
}
