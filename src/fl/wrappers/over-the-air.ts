/** Any averaging strategy whose updates add up in the air; the channel is that of `channel.ts`. */
import type * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { About } from "../about.ts";
import { addNoise, channelFields, controlLink, type Link, linkOf, momentsOf, scaleOf, usesOf } from "../channel.ts";
import { usual } from "../plan.ts";
import type { ServerState, Strategy } from "../strategy.ts";
import { hasTrained, type Update } from "../update.ts";

export const aboutOverTheAir: About = {
  adapts: "the channel of the uplink: updates add up in the air, with fading and noise",
  formula: `
    c = min over active of √P·|h_k| ÷ (w_k·√v_k)          w_k: the method's own weight in a group, v_k the update's variance
    heard: Σ w_k·Δ_k + Re(noise) ÷ c                       noise ~ CN(0, σ²), P ÷ σ² = SNR
  `,
  notes: `
    Bytes are those of a digital upload; the symbols it takes over the air, of all clients together, are in the metrics.
    The sum is unbiased unless minGain, phaseError or dropAfterScheduling is set. Ahead of the slot each client sends mean
    and variance of each group. Around a rule that looks at all updates at once, or keeps something of each client's, it is
    refused: the server hears only a sum.
  `,
  sends: "mean and variance of each group, ahead of the update",
  keeps: null,
  sources: [
    {
      by: "Hamidi et al.",
      title: "Over-the-Air Fair Federated Learning via Multi-Objective Optimization",
      year: 2025,
      url: "https://arxiv.org/abs/2501.03392",
    },
  ],
  certainty: "rebuilt: the transceiver, derived from the model of the channel",
  reduces: [{ options: { overTheAir: { noiseless: true } }, gives: ["program", "bytes"] }],
};

export const overTheAirFields = channelFields;
export type OverTheAirOptions = z.output<z.ZodObject<typeof overTheAirFields>>;

interface Heard<Host> {
  readonly host: Host;
  /** Of each group, what sets the scale: weight, variance and gain of whoever trained it. */
  readonly senders: readonly { weight: number; variance: number; gain: number }[][];
}

export function overTheAir<Host>(host: Strategy<Host>, options: OverTheAirOptions): Strategy<Heard<Host>> {
  if (host.sums === "products") {
    throw new ScenarioError(
      `strategy.overTheAir: ${host.name} sums products of factors, and over the air the server hears only the sum of these`,
    );
  }
  if (host.sums === "each") {
    throw new ScenarioError(
      `strategy.overTheAir: ${host.name} works on each client's update, and over the air the server hears only their sum`,
    );
  }
  if (host.folding === "all") {
    throw new ScenarioError(
      `strategy.overTheAir: ${host.name} looks at all updates at once, and over the air the server hears only their sum`,
    );
  }
  return {
    ...host,
    name: `${host.name}+air(${options.noiseless ? "noiseless" : `${options.snr} dB`})`,
    plan(client, server, setting) {
      const plan = host.plan?.(client, server, setting) ?? usual(client, setting);
      const ahead = controlLink(setting.layout, 0);
      const { up = 0, down = 0 } = plan.preliminary ?? {};
      return { ...plan, preliminary: { up: up + ahead.up, down: down + ahead.down } };
    },
    begin: (server, setting) => ({ host: host.begin(server, setting), senders: setting.layout.groups.map(() => []) }),
    fold(sum, update, setting, at) {
      const link = linkOf(update.client, setting, at, options);
      if (link.gain < options.minGain) return;
      const { groups } = setting.layout;
      const values = update.values.slice();
      for (const [group, { ranges }] of groups.entries()) {
        const weight = host.weight(update, group, setting.layout);
        if (weight === 0 || !hasTrained(update, group)) continue;
        const { mean, variance } = momentsOf((i) => update.values[i]! - update.base[i]!, ranges);
        const factor = update.discount * (update.clip ?? 1);
        sum.senders[group]!.push({ weight, variance: factor ** 2 * variance, gain: link.gain });
        if (link.share !== 1) for (const range of ranges) received(values, update, mean, link, range);
      }
      host.fold(sum.host, { ...update, values }, setting, at);
    },
    finish(sum, server, setting, at) {
      const noisy = (next: ServerState): ServerState => {
        if (next === server) return next;
        const parameters = next.parameters.slice();
        for (const [group, { ranges }] of setting.layout.groups.entries()) {
          addNoise(parameters, ranges, scaleAmong(sum.senders[group]!), options, at.draws);
        }
        return { ...next, parameters };
      };
      const next = host.finish(sum.host, server, setting, at);
      return next instanceof Promise ? next.then(noisy) : noisy(next);
    },
    report: (after, before, setting) => ({
      ...host.report?.(after, before, setting),
      channelUses: usesOf(setting.layout, options),
    }),
  };
}

/** What arrives of a client whose phase is off: its mean, which travelled ahead, and a share of the rest. */
function received(
  values: Float32Array,
  { values: sent, base }: Update,
  mean: number,
  { share }: Link,
  { start, end }: { readonly start: number; readonly end: number },
): void {
  for (let i = start; i < end; i++) values[i] = base[i]! + mean + share * (sent[i]! - base[i]! - mean);
}

function scaleAmong(senders: Heard<unknown>["senders"][number]): number {
  const total = senders.reduce((sum, { weight }) => sum + weight, 0);
  return scaleOf(
    senders.map(({ weight }) => weight / total),
    senders.map(({ variance }) => variance),
    senders.map(({ gain }) => gain),
  );
}
