/** q-FFL: clients with a larger loss weigh more. */
import * as z from "zod";
import { eachOf } from "../averaging.ts";
import { usual } from "../plan.ts";
import { lossBefore, receivedLoss } from "../probes.ts";
import { hasTrained } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Sum {
  readonly d: Float64Array;
  readonly trained: Uint8Array;
  h: number;
}

export const qffl = defineStrategy({
  type: "qffl",
  about: {
    adapts: "the weight of clients: more for a larger loss",
    formula: `
      g_i = L·(θ − θ_i),   d_i = F_i^q · g_i,   h_i = q·F_i^(q−1)·‖g_i‖² + L·F_i^q,   L = 1 ÷ η
      θ ← θ − Σ d_i ÷ Σ h_i          F_i the client's mean loss at the model it received
    `,
    sends: "its loss on the received model",
    keeps: null,
    sources: [
      {
        by: "Li et al.",
        title: "Fair Resource Allocation in Federated Learning",
        year: 2019,
        url: "https://arxiv.org/abs/1905.10497",
      },
    ],
    certainty: "as published",
    reduces: [{ options: { q: 0 }, to: { type: "fedavg", weighting: "uniform" }, gives: ["values"] }],
  },
  options: {
    q: z.number().min(0).max(20).default(0.1).describe("how much a large loss counts"),
    lossFloor: z.number().positive().default(1e-10).describe("F_i is at least this, in nats"),
  },
  name: ({ q }) => `qffl(q=${q})`,
  make({ q, lossFloor }) {
    const lossOf = (sent: Readonly<Record<string, number | Float64Array>>) => Math.max(lossFloor, sent.loss as number);
    return {
      weight: (update, group) => (hasTrained(update, group) ? update.discount * lossOf(update.sent) ** q : 0),
      plan: (client, _server, setting) => ({
        ...usual(client, setting),
        bytes: { up: 4 * setting.layout.size + 8 },
      }),
      steps: lossBefore,
      reply: (trained) => ({ sent: { loss: receivedLoss(trained) } }),
      begin: (_server, { layout }): Sum => ({
        d: new Float64Array(layout.size),
        trained: new Uint8Array(layout.groups.length),
        h: 0,
      }),
      fold(sum: Sum, update, { layout, rate }) {
        const L = 1 / (update.plan.learningRate ?? rate);
        const loss = lossOf(update.sent);
        const scale = loss ** q;
        const factor = L * (update.discount * (update.clip ?? 1));
        const { values, base } = update;
        const { d } = sum;
        let square = 0;
        for (const [group, { ranges }] of layout.groups.entries()) {
          if (!hasTrained(update, group)) continue;
          sum.trained[group] = 1;
          for (const { start, end } of ranges) square += addGradient(d, values, base, start, end, factor, scale);
        }
        sum.h += q * loss ** (q - 1) * square + L * scale;
      },
      finish({ d, h, trained }: Sum, server, { layout }) {
        if (h === 0) return server;
        const parameters = server.parameters.slice();
        eachOf(
          layout,
          (group) => trained[group] === 1,
          (i) => {
            if (d[i] !== 0) parameters[i] = parameters[i]! - d[i]! / h;
          },
        );
        return { ...server, parameters };
      },
    };
  },
});

/**
 * d_i ← d_i + scale·g_i with g_i = factor·(base_i − values_i). Four sums at a time, as none waits for another; each declared
 * alone: V8 keeps those of one destructured array as objects, which takes half as long again.
 *
 * @returns Σ g_i²
 */
function addGradient(
  d: Float64Array,
  values: Float32Array,
  base: Float32Array,
  start: number,
  end: number,
  factor: number,
  scale: number,
): number {
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  let i = start;
  for (; i + 3 < end; i += 4) {
    const a = factor * (base[i]! - values[i]!);
    const b = factor * (base[i + 1]! - values[i + 1]!);
    const c = factor * (base[i + 2]! - values[i + 2]!);
    const e = factor * (base[i + 3]! - values[i + 3]!);
    d[i] = d[i]! + scale * a;
    d[i + 1] = d[i + 1]! + scale * b;
    d[i + 2] = d[i + 2]! + scale * c;
    d[i + 3] = d[i + 3]! + scale * e;
    first += a * a;
    second += b * b;
    third += c * c;
    fourth += e * e;
  }
  for (; i < end; i++) {
    const g = factor * (base[i]! - values[i]!);
    d[i] = d[i]! + scale * g;
    first += g * g;
  }
  return first + second + (third + fourth);
}
