/** What the rules of methods come to on quadratics, where that can be worked out by hand, and what they owe whatever comes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { ccfao, ewwa, fedadam, fedavg, fedvra, otaffl, qffl } from "../../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../../src/fl/strategy.ts";
import type { Setting } from "../../../src/tasks/task.ts";
import { close } from "../../support/method-goldens.ts";
import {
  aggregate,
  emptyMemory,
  participate,
  plainLayout,
  serverOf,
  settingOf,
  updateOf,
} from "../../support/quadratic.ts";

const draws = (purpose: string) => new Rng(11).at(purpose).at(0);

/** Rounds of clients that each descend ½·(x − target)² by `steps` local steps. */
async function play(
  strategy: Strategy,
  targets: readonly (readonly number[])[],
  { setting, rounds, steps = 1 }: { readonly setting: Setting; readonly rounds: number; readonly steps?: number },
  seen: (server: ServerState) => void = () => {},
): Promise<ServerState> {
  let server = serverOf(strategy, new Array<number>(setting.layout.size).fill(0), setting);
  for (let round = 1; round <= rounds; round++) {
    const updates = targets.map((target, client) => {
      const own = { client: clientId(client), target, steps, memory: emptyMemory };
      return participate(strategy, server, own, setting, round).update;
    });
    server = await aggregate(strategy, server, updates, setting, round);
    seen(server);
  }
  return server;
}

test("FedAvg: a full-batch step of all clients is one step on all data", async () => {
  const setting = settingOf(plainLayout(1), { clients: 3, rate: 0.1, examples: (client) => 1 + client });
  const { parameters } = await play(fedavg(), [[6], [3], [-4]], { setting, rounds: 1 });
  // Slope of Σ n_k·½·(x − e_k)² ÷ Σ n_k at 0: −(6 + 2·3 − 3·4) ÷ 6 = 0; and by one client more it is not.
  close(parameters, [0], 1e-7);
  const { parameters: other } = await play(fedavg(), [[6], [3], [2]], { setting, rounds: 1 });
  close(other, [(0.1 * (6 + 6 + 6)) / 6], 1e-7);
});

/** Exact local answers of FedVRA on ½·h·(θ − c)²: h·(θ − c) + λ + γ·(θ − x) = 0. */
function answers(server: ServerState, clients: readonly Quadratic[], gamma: number) {
  return clients.map(({ h, c, n }, client) => {
    const lambda = server.vectors[`lambda:${client}`]?.[0] ?? 0;
    const x = server.parameters[0]!;
    const theta = (h * c - lambda + gamma * x) / (h + gamma);
    return { lambda, theta, update: updateOf([x], [theta], { client: clientId(client), examples: n }) };
  });
}
interface Quadratic {
  readonly h: number;
  readonly c: number;
  readonly n: number;
}
const three: readonly Quadratic[] = [
  { h: 1, c: 0, n: 1 },
  { h: 2, c: 3, n: 2 },
  { h: 4, c: -1, n: 1 },
];
const ofThree = settingOf(plainLayout(1), { clients: 3, examples: (client) => three[client]!.n });

test("FedVRA: a dual vector is an average of negative local gradients, and at the optimum all of it rests", async () => {
  const gamma = 1;
  const optimum = (2 * 2 * 3 + 4 * -1) / (1 + 2 * 2 + 4);
  for (const serverMode of ["mean", "damped", "stale"] as const) {
    for (const a of [0.3, 1]) {
      const strategy = fedvra({ gamma, a, serverMode });
      let server = serverOf(strategy, [5], ofThree);
      for (let round = 1; round <= 300; round++) {
        const sent = answers(server, three, gamma);
        server = await aggregate(
          strategy,
          server,
          sent.map(({ update }) => update),
          ofThree,
          round,
        );
        if (round > 3) continue;
        for (const [client, { lambda, theta }] of sent.entries()) {
          const { h, c } = three[client]!;
          close(server.vectors[`lambda:${client}`]!, [(1 - a) * lambda - a * h * (theta - c)], 1e-10);
        }
      }
      // Parameters are float32.
      close(server.parameters, [optimum], 1e-5);
      close(server.vectors.lbar!, [0], 1e-5);
      const sent = answers(server, three, gamma);
      for (const [client, { h, c }] of three.entries()) {
        close([sent[client]!.lambda], [-h * (optimum - c)], 1e-5);
        close([sent[client]!.theta], [optimum], 1e-5);
      }
      const next = await aggregate(
        strategy,
        server,
        sent.map(({ update }) => update),
        ofThree,
        301,
      );
      close(next.parameters, [optimum], 1e-5);
    }
  }
});

test("FedVRA: where everybody takes part the server's modes agree; clients that are all alike have one dual vector", async () => {
  const after = async (options: Parameters<typeof fedvra>[0], clients: readonly Quadratic[], rounds: number) => {
    const strategy = fedvra({ gamma: 0.5, ...options });
    let server = serverOf(strategy, [5], ofThree);
    for (let round = 1; round <= rounds; round++) {
      const sent = answers(server, clients, 0.5).map(({ update }) => update);
      server = await aggregate(strategy, server, sent, ofThree, round);
    }
    return server;
  };
  const modes = ["mean", "damped", "stale"] as const;
  const [mean, ...others] = await Promise.all(modes.map((serverMode) => after({ serverMode, a: 0.7 }, three, 4)));
  for (const { parameters } of others) close(parameters, [...mean!.parameters], 1e-6);
  const alike = three.map(({ n }) => ({ h: 2, c: 3, n }));
  const [reduced, plain] = [await after({ a: 1 }, alike, 200), await after({ a: 0 }, alike, 200)];
  close(reduced.parameters, [...plain.parameters], 1e-5);
  const [first, ...rest] = [0, 1, 2].map((client) => reduced.vectors[`lambda:${client}`]![0]!);
  for (const lambda of rest) assert.equal(lambda, first);
});

test("EWWA-FL: values stay between the clients', alike they stay as they are, and one sign everywhere is the plain mean", async () => {
  const size = 6;
  const setting = settingOf(plainLayout(size), { clients: 3 });
  const normal = draws("ewwa");
  const vectors = (count: number) =>
    Array.from({ length: count }, () => Array.from({ length: size }, () => normal.normal()));
  const round = async (
    strategy: Strategy,
    server: ServerState,
    sent: readonly (readonly number[])[],
    order = [0, 1, 2],
  ) =>
    aggregate(
      strategy,
      server,
      order.map((client) => updateOf(server.parameters, sent[client]!, { client: clientId(client) })),
      setting,
    );
  const strategy = ewwa();
  let server = serverOf(strategy, vectors(1)[0]!, setting);
  for (let turn = 0; turn < 4; turn++) {
    const sent = vectors(3);
    server = await round(strategy, server, sent);
    for (const [i, value] of server.parameters.entries()) {
      const own = sent.map((values) => values[i]!);
      assert.ok(value >= Math.min(...own) - 1e-6 && value <= Math.max(...own) + 1e-6);
    }
  }
  const [same] = vectors(1);
  const fresh = () => serverOf(strategy, new Array<number>(size).fill(0), setting);
  close((await round(strategy, fresh(), [same!, same!, same!])).parameters, same!, 1e-6);
  // At first u is the sign of g whatever its size; ε = 1e-8 stands beside g² ≥ 0.01.
  const down = vectors(3).map((values) => values.map((value) => 0.1 + Math.abs(value)));
  const mean = same!.map((_, i) => down.reduce((sum, values) => sum + values[i]! / 3, 0));
  close((await round(strategy, fresh(), down)).parameters, mean, 1e-5);
  const sent = vectors(3);
  const inOrder = async (variant: "paper" | "code", order: readonly number[]) => {
    const own = ewwa({ variant });
    let state = serverOf(own, new Array<number>(size).fill(0), setting);
    for (let turn = 0; turn < 2; turn++) state = await round(own, state, sent, [...order]);
    return state.parameters;
  };
  close(await inOrder("paper", [2, 0, 1]), [...(await inOrder("paper", [0, 1, 2]))], 1e-6);
  assert.notDeepEqual(await inOrder("code", [2, 0, 1]), await inOrder("code", [0, 1, 2]));
});

test("EWWA-FL: as a goes to 0 it is the plain mean of clients in every round", async () => {
  const setting = settingOf(plainLayout(2), { clients: 3, rate: 0.1 });
  const curveOf = async (strategy: Strategy) => {
    const curve: number[] = [];
    const seen = ({ parameters }: ServerState) => void curve.push(...parameters);
    await play(
      strategy,
      [
        [1, 5],
        [-2, 2],
        [4, -1],
      ],
      { setting, rounds: 10, steps: 3 },
      seen,
    );
    return curve;
  };
  const mean = await curveOf(fedavg({ weighting: "uniform" }));
  close(await curveOf(ewwa({ a: 1e-9 })), mean, 1e-6);
  assert.ok((await curveOf(ewwa())).some((value, at) => Math.abs(value - mean[at]!) > 0.1));
});

test("EWWA-FL: after as many rounds it is below where FedAvg and FedAdam are if clients disagree, and reports that it was pushed there", async () => {
  const setting = settingOf(plainLayout(1), { clients: 2, rate: 0.1 });
  const endOf = async (strategy: Strategy) => {
    let before = serverOf(strategy, [0], setting);
    let pulled = 0;
    const { parameters } = await play(strategy, [[1], [-1]], { setting, rounds: 20 }, (server) => {
      pulled += strategy.report?.(server, before, setting).meanPull ?? 0;
      before = server;
    });
    return [parameters[0]!, pulled] as const;
  };
  // The mean of what they want is 0, whose squared distance from them, the loss, is least.
  for (const strategy of [fedavg(), fedadam(), ewwa({ signal: "abs" })]) {
    const [end, pulled] = await endOf(strategy);
    close([end, pulled], [0, 0], 1e-6);
  }
  const [end, pulled] = await endOf(ewwa());
  assert.ok(end < -0.3, `${end}`);
  close([pulled], [-end], 1e-6);
});

test("EWWA forgets the moments of who was counted least recently, and that client begins again", async () => {
  const strategy = ewwa({ remembered: 2 });
  const setting = settingOf(plainLayout(1), { clients: 4 });
  let server = serverOf(strategy, [0], setting);
  const counted = [
    [0, 1],
    [1, 2],
    [0, 3],
  ];
  for (const [at, clients] of counted.entries()) {
    const updates = clients.map((client) => updateOf(server.parameters, [client + 1], { client: clientId(client) }));
    server = await aggregate(strategy, server, updates, setting, at + 1);
  }
  // 0 had been forgotten after the second round.
  assert.deepEqual(
    Object.keys(server.vectors)
      .filter((name) => name.startsWith("n:"))
      .sort(),
    ["n:0", "n:3"],
  );
  assert.equal(server.vectors["n:0"]![0], 1);
});

test("EWWA's variant code takes v up as its form says", async () => {
  const setting = settingOf(plainLayout(1));
  const g = 0.5;
  const first = async (form: "adam" | "yogi" | "adagrad") => {
    const strategy = ewwa({ variant: "code", form });
    const update = updateOf([0], [-g], { client: clientId(0) });
    return (await aggregate(strategy, serverOf(strategy, [0], setting), [update], setting)).vectors.v![0]!;
  };
  // v is 0 at first, where Yogi adds what Adam does.
  close([await first("adam")], 0.001 * g * g, 1e-12);
  close([await first("yogi")], 0.001 * g * g, 1e-12);
  close([await first("adagrad")], g * g, 1e-12);
});

test("CC-FAO: memory removes what participation weighs, and steps are divided by; both together come near the plain mean", async () => {
  const rate = 0.05;
  const clients = [
    { c: 1, steps: 1, often: 4 },
    { c: -2, steps: 8, often: 2 },
    { c: 6, steps: 16, often: 1 },
  ];
  const reach = clients.map(({ steps }) => 1 - (1 - rate) ** steps);
  const setting = settingOf(plainLayout(1), { clients: clients.length });
  const turns = clients.flatMap(({ often }, client) => new Array<number>(often).fill(client));
  for (const normalise of ["none", "perStep"] as const) {
    for (const memory of [true, false]) {
      const strategy = ccfao({ normalise, memory, serverOptimizer: "sgd", serverLearningRate: memory ? 0.05 : 0.02 });
      let server = serverOf(strategy, [0], setting);
      const tail: number[] = [];
      const rounds = normalise === "none" ? 3_500 : 14_000;
      for (let round = 0; round < rounds; round++) {
        // One arrival at a time, each as often as it takes part.
        const client = turns[(round * 3) % turns.length]!;
        const { c, steps } = clients[client]!;
        const x = server.parameters[0]!;
        const update = updateOf([x], [x + reach[client]! * (c - x)], { client: clientId(client), steps });
        server = await aggregate(strategy, server, [update], setting, round + 1);
        if (round >= rounds - 10 * turns.length) tail.push(server.parameters[0]!);
      }
      const weights = clients.map(
        ({ steps, often }, at) => (reach[at]! / (normalise === "perStep" ? steps : 1)) * (memory ? 1 : often),
      );
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const limit = clients.reduce((sum, { c }, at) => sum + (weights[at]! * c) / total, 0);
      const found = tail.reduce((sum, x) => sum + x / tail.length, 0);
      // The server's step is small and not nothing, and parameters are float32.
      close([found], [limit], memory ? 1e-3 : 2e-2);
    }
  }
  const plainMean = clients.reduce((sum, { c }) => sum + c / 3, 0);
  const shares = clients.map(({ steps }, at) => reach[at]! / steps);
  const best = clients.reduce((sum, { c }, at) => sum + shares[at]! * c, 0) / shares.reduce((sum, u) => sum + u, 0);
  assert.ok(Math.abs(best - plainMean) < 0.5, `${best} and ${plainMean}`);
});

test("CC-FAO: of a constant gradient what is sent does not depend on the number of steps, unless it is not normalised", async () => {
  const setting = settingOf(plainLayout(1));
  const movedBy = async (steps: number, normalise: "none" | "perStep") => {
    const strategy = ccfao({ normalise, serverOptimizer: "sgd", serverLearningRate: 1 });
    const update = updateOf([0], [-0.1 * steps], { steps });
    return (await aggregate(strategy, serverOf(strategy, [0], setting), [update], setting)).parameters[0]!;
  };
  close([await movedBy(1, "perStep"), await movedBy(8, "perStep")], [-0.1, -0.1], 1e-6);
  close([await movedBy(1, "none"), await movedBy(8, "none")], [-0.1, -0.8], 1e-6);
});

const lossesAt = (x: number, targets: readonly (readonly number[])[]) => targets.map(([e]) => (x - e!) ** 2 / 2);

test("q-FFL: the larger q, the more alike are the losses of clients, and the larger is their mean", async () => {
  const targets = [[0], [0], [0], [9]];
  const setting = settingOf(plainLayout(1), { clients: 4, rate: 0.05 });
  const spread: number[] = [];
  const means: number[] = [];
  for (const q of [0, 0.5, 2, 5]) {
    const { parameters } = await play(qffl({ q }), targets, { setting, rounds: 600 });
    const losses = lossesAt(parameters[0]!, targets);
    const mean = losses.reduce((sum, loss) => sum + loss / 4, 0);
    means.push(mean);
    spread.push(losses.reduce((sum, loss) => sum + (loss - mean) ** 2 / 4, 0));
  }
  for (let at = 1; at < spread.length; at++) assert.ok(spread[at]! < spread[at - 1]! && means[at]! > means[at - 1]!);
});

test("OTA-FFL: from the mean by size to the point where both losses are equal, as far as the box goes; worst falls, mean rises", async () => {
  const targets = [[0], [1]];
  const setting = settingOf(plainLayout(1), { clients: 2, rate: 0.05, examples: (client) => [9, 1][client]! });
  const ends: number[] = [];
  for (const epsilon of [0, 0.1, 0.3, 1]) {
    const seen: number[] = [];
    await play(otaffl({ epsilon, channel: "none" }), targets, { setting, rounds: 600 }, ({ parameters }) =>
      seen.push(parameters[0]!),
    );
    // With a constant step weights chatter where losses are equal: the mean of the iterates is what they come to.
    ends.push(seen.slice(-200).reduce((sum, x) => sum + x / 200, 0));
  }
  close(ends, [0.1, 0.2, 0.4, 0.5], 1e-3);
  const worst = ends.map((x) => Math.max(...lossesAt(x, targets)));
  const mean = ends.map((x) => lossesAt(x, targets).reduce((sum, loss, at) => sum + loss * [0.9, 0.1][at]!, 0));
  for (let at = 1; at < ends.length; at++) assert.ok(worst[at]! < worst[at - 1]! && mean[at]! > mean[at - 1]!);
  const known = await play(otaffl({ epsilon: 1, channel: "none", utopia: [0, 0.5] }), targets, {
    setting,
    rounds: 600,
  });
  // Of the second no more than what exceeds ½ counts, which nothing here does.
  close(known.parameters, [0], 0.1);
  assert.match(otaffl({ utopia: [1] }).problems!(setting)[0]!.text, /has 1 losses, expected one for each of 2 clients/);
});

test("OTA-FFL: a client may send its slope at the model it received in the place of what steps made of it", async () => {
  const strategy = otaffl({ epsilon: 0, channel: "none", sends: "gradient" });
  const setting = settingOf(plainLayout(2), { rate: 0.1 });
  const server = serverOf(strategy, [3, -1], setting);
  const one = { client: clientId(0), target: [1, 1], steps: 7, memory: emptyMemory };
  const { update } = participate(strategy, server, one, setting);
  // x − 0.1·(x − e).
  close(update.values, [2.8, -0.8]);
  close((await aggregate(strategy, server, [update], setting)).parameters, [2.8, -0.8]);
});

test("OTA-FFL: the floor that noise leaves is in proportion to its power", async () => {
  const size = 40;
  const up = Array.from({ length: size }, (_, i) => (i % 2 === 0 ? 1 : -1));
  const setting = settingOf(plainLayout(size), { clients: 2, rate: 0.2 });
  const floors: number[] = [];
  for (const snr of [10, 20, 30]) {
    let [sum, rounds] = [0, 0];
    const strategy = otaffl({ epsilon: 0, snr });
    await play(strategy, [up, up.map((e) => -e)], { setting, rounds: 150 }, ({ parameters }) => {
      if (++rounds > 30) sum += parameters.reduce((all, x) => all + x * x, 0);
    });
    floors.push(sum);
  }
  // The same channel and noise in each run, but for its power; the scale of a transmission differs by what noise moved.
  for (const [at, floor] of floors.slice(1).entries()) assert.ok(Math.abs(floors[at]! / floor - 10) < 1, `${floors}`);
});
