/** Any method whose clients send less: the largest entries of their update, rounded to a few levels. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { scalarsOf } from "../../tasks/scope.ts";
import type { About } from "../about.ts";
import { eachOf } from "../averaging.ts";
import { bytesOf, usual } from "../plan.ts";
import { largest } from "../sparse.ts";
import type { Strategy } from "../strategy.ts";

export const aboutCompression: About = {
  adapts: "what is sent: the largest entries of an update, rounded to a few levels",
  formula: `
    u = Δ + e,   sent = Q(top_k(u)),   e ← u − top_k(u)                  e: what was left out so far, with feedback
    Q(x) = ‖x‖ · sign(x) · ξ ÷ s,   ξ = ⌊s·|x| ÷ ‖x‖⌋ or one more, so that Q is unbiased          s levels; 0 = exact
  `,
  notes: `
    A client keeps e only when its update was counted. Groups that it did not train are left alone, what is owed to them
    too. k counts what the method itself would send: of members that rest or factors that are frozen nothing is chosen.
    Charged: four bytes a value, or its sign and level in bits, and the place of each in ⌈log₂ size⌉ bits.
  `,
  sends: "less",
  keeps: "e with each client",
  sources: [
    { by: "Stich et al.", title: "Sparsified SGD with Memory", year: 2018, url: "https://arxiv.org/abs/1809.07599" },
    {
      by: "Alistarh et al.",
      title: "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
      year: 2017,
      url: "https://arxiv.org/abs/1610.02132",
    },
  ],
  certainty: "as published",
  reduces: [{ options: { compress: { keep: 1, levels: 0 } }, gives: ["program", "bytes"] }],
};

export const compressionFields = {
  keep: z
    .number()
    .gt(0)
    .max(1)
    .default(0.1)
    .describe("share of the entries that are sent, of those that the method sends"),
  levels: z.int().min(0).max(255).default(0).describe("s; 0 sends values as they are"),
  feedback: z.boolean().default(true).describe("whether what was left out is owed"),
};

export type CompressionOptions = z.output<z.ZodObject<typeof compressionFields>>;

export function compressed<Sum>(host: Strategy<Sum>, { keep, levels, feedback }: CompressionOptions): Strategy<Sum> {
  if (host.prelude === true) {
    throw new ScenarioError(
      `strategy.compress: ${host.name} throws away what clients learn in its prelude, and what compression left out of that they would still owe`,
    );
  }
  const details = [...(keep < 1 ? [`top ${keep}`] : []), ...(levels > 0 ? [`${levels} levels`] : [])];
  return {
    ...host,
    name: `${host.name}+compressed(${details.join(", ")})`,
    plan(client, server, setting) {
      const plan = host.plan?.(client, server, setting) ?? usual(client, setting);
      const { layout } = setting;
      const { up } = bytesOf(plan, layout);
      // Members that rest, layers below, factors that are frozen: of what the host does not send nothing is chosen.
      const own = Math.min(scalarsOf(layout, plan.scope), Math.floor(up / 4));
      const entries = Math.ceil(keep * own);
      return {
        ...plan,
        ...(own < layout.size && { entries }),
        bytes: { ...plan.bytes, up: up - 4 * own + sentBytes(entries, layout.size) },
      };
    },
    reply(trained, plan, client, setting) {
      const reply = host.reply?.(trained, plan, client, setting) ?? {};
      const { layout } = setting;
      const from = reply.values ?? trained.values;
      const residual = Float32Array.from(client.memory.vectors.residual ?? new Float32Array(layout.size));
      const owed = new Float64Array(layout.size);
      const isTrained = (group: number) => trained.trained[group] === 1;
      eachOf(layout, isTrained, (i) => {
        owed[i] = from[i]! - trained.base[i]! + (feedback ? residual[i]! : 0);
      });
      const kept = largest(owed, plan.entries ?? Math.ceil(keep * layout.size));
      const sent = quantised(kept, levels, client.draws("levels"));
      const values = trained.base.slice();
      eachOf(layout, isTrained, (i) => {
        if (sent[i] !== 0) values[i] = values[i]! + sent[i]!;
        // Rounding is unbiased; owed as well, its error would grow from round to round where there are few levels.
        residual[i] = owed[i]! - kept[i]!;
      });
      const { vectors = client.memory.vectors, notes = client.memory.notes } = reply.memory ?? {};
      return {
        ...reply,
        values,
        ...(feedback
          ? { memory: { vectors: { ...vectors, residual }, notes } }
          : reply.memory && { memory: reply.memory }),
      };
    },
  };

  function sentBytes(entries: number, size: number): number {
    if (entries === 0) return 0;
    const place = keep < 1 ? Math.ceil(Math.log2(size)) : 0;
    const value = levels === 0 ? 32 : 1 + Math.ceil(Math.log2(levels + 1));
    return Math.ceil((entries * (place + value)) / 8) + (levels === 0 ? 0 : 4);
  }
}

function quantised(values: Float64Array, levels: number, draws: { uniform(): number }): Float64Array {
  if (levels === 0) return values;
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return values.map((value) => {
    if (value === 0) return 0;
    const exact = (levels * Math.abs(value)) / norm;
    const level = Math.floor(exact) + (draws.uniform() < exact - Math.floor(exact) ? 1 : 0);
    return (norm * Math.sign(value) * level) / levels;
  });
}
