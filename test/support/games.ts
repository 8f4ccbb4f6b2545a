/** Games of FL Games without a network: each client's risk is a quadratic function of the mean of all heads. */
import { clientId, participationId, round as roundOf } from "../../src/base/ids.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { ParameterLayout } from "../../src/tasks/layout.ts";
import type { Setting } from "../../src/tasks/task.ts";
import { aggregate, drawsOf, emptyMemory, plainLayout, serverOf, settingOf, updateOf } from "./quadratic.ts";

/** ½·wᵀHw − bᵀw */
export interface Risk {
  readonly curvature: readonly (readonly number[])[];
  readonly slope: readonly number[];
}

/** ½·(s − t)² */
export const wanting = (t: number): Risk => ({ curvature: [[1]], slope: [t] });

export function gameSetting(clients: number, width: number, given: Partial<Setting> = {}): Setting {
  const groups = Array.from({ length: clients }, (_, client) => client);
  const layout: ParameterLayout = { ...plainLayout(width, clients), heads: { groups, linear: true } };
  return settingOf(layout, { clients, ...given });
}

/** What the model predicts by. */
export function meanHead({ parameters }: ServerState, clients: number): number[] {
  const width = parameters.length / clients;
  return Array.from({ length: width }, (_, i) =>
    Array.from({ length: clients }, (_, q) => parameters[q * width + i]! / clients).reduce((a, b) => a + b, 0),
  );
}

/**
 * A round in which the clients of `present` move.
 *
 * @param move the gradient of its risk in its own head, or the head that answers best to the others
 */
export async function playRound(
  strategy: Strategy,
  server: ServerState,
  risks: readonly Risk[],
  setting: Setting,
  round: number,
  move: "gradient" | "best" = "gradient",
  present: readonly number[] = [...risks.keys()],
): Promise<ServerState> {
  const { clients, layout } = setting;
  const width = layout.size / clients;
  const updates = present.map((client) => {
    const view = {
      client: clientId(client),
      participation: participationId(0),
      budget: 1,
      examples: 1 + client,
      round: roundOf(round),
      memory: emptyMemory,
      draws: drawsOf(round),
    };
    const plan = strategy.plan!(view, server, setting);
    const seen = seenIn(plan.inputs!, server, clients);
    const values = Float32Array.from(server.parameters);
    const { curvature, slope } = risks[client]!;
    for (let i = 0; i < width; i++) {
      const at = client * width + i;
      const pull = curvature[i]!.reduce((sum, h, j) => sum + h * seen[j]!, -slope[i]!);
      const rate = plan.learningRate ?? setting.rate;
      // The best response is exact for one number.
      values[at] = values[at]! - (move === "gradient" ? (rate * pull) / clients : (clients * pull) / curvature[i]![i]!);
    }
    const trained = updateOf(server.parameters, values, { ...view, plan, trained: new Uint8Array(clients).fill(1) });
    return { ...trained, ...strategy.reply!({ ...trained, found: {} }, plan, view, setting), sent: {} };
  });
  return aggregate(strategy, server, updates, setting, round);
}

/** The ensemble as a client sees it: today's heads and earlier ones, each with its share. */
export function seenIn(
  inputs: Readonly<Record<string, number | ArrayLike<number>>>,
  { parameters }: Pick<ServerState, "parameters">,
  clients: number,
): number[] {
  const width = parameters.length / clients;
  const past = (inputs.past ?? []) as ArrayLike<number>;
  const all = [...parameters, ...Array.from(past)];
  const even = new Array<number>(clients).fill(1 / clients);
  const shares = (inputs.shares ?? even) as ArrayLike<number>;
  return Array.from({ length: width }, (_, i) =>
    Array.from(shares).reduce((sum, share, head) => sum + share * all[head * width + i]!, 0),
  );
}

export const fresh = (strategy: Strategy, setting: Setting, value = 0): ServerState =>
  serverOf(strategy, new Array<number>(setting.layout.size).fill(value), setting);
