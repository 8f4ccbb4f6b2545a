/**
 * What every strategy owes the simulator, checked on small rounds that chance plays, and on a real round:
 *
 *   const findings = await testStrategy(() => mine());
 *   assert.deepEqual(findings.filter(({ problem }) => problem !== null), []);
 *
 * The project's own strategies are held to the same.
 */
import assert from "node:assert/strict";
import { messageOf } from "../base/errors.ts";
import { clientId, round as roundOf } from "../base/ids.ts";
import { bytesOf, type Plain } from "../fl/plan.ts";
import type { Strategy } from "../fl/strategy.ts";
import { hasTrained, type Update } from "../fl/update.ts";
import { decode, encode } from "../runtime/messages/codec.ts";
import { encodeProgram } from "../tensor/codec.ts";
import { reachable } from "../tensor/graph/graph.ts";
import { checkRealRound } from "./real-round.ts";
import {
  aggregated,
  beginning,
  drawsOf,
  played,
  programsOf,
  type Remembered,
  smallTask,
  unplayed,
} from "./small-task.ts";

/** What a strategy promises besides what all owe. */
export interface Promises {
  /** Fewest updates from which identical ones come out bit for bit. Server optimizers, for one, promise nothing. */
  readonly reproducesFrom?: number;
  /** Fewest updates from which what all clients agree on comes out, to rounding; as `reproducesFrom` unless given. */
  readonly agreesFrom?: number;
  /** The result depends on the order of updates by design. */
  readonly ordered?: boolean;
  /** Groups that nobody trained may move: old momentum carries them on. */
  readonly restless?: boolean;
  /** Its programs leave a part of the scope as it is, which is not charged: what chance trains here it cannot know. */
  readonly masked?: boolean;
  /** What travels besides the envelope, by formula; the model each way unless given. */
  readonly bytes?: (size: number, groups: number) => { readonly down: number; readonly up: number };
}

export interface Finding {
  readonly check: string;
  /** Null when the check holds. */
  readonly problem: string | null;
}

export type Make = () => Strategy;
type Check = (make: Make, promises: Promises) => void | Promise<void>;

/**
 * @param make gives a fresh instance at every call: what one instance remembers must not matter
 * @param realRound whether a real round is trained as well, which takes seconds
 */
export async function testStrategy(
  make: Make,
  promises: Promises = {},
  { realRound = true }: { readonly realRound?: boolean } = {},
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const wanted = realRound ? { ...checks, [realCheck]: checkRealRound } : checks;
  for (const [check, holds] of Object.entries(wanted)) {
    let problem: string | null = null;
    try {
      await holds(make, promises);
    } catch (error) {
      problem = messageOf(error);
    }
    findings.push({ check, problem });
  }
  return findings;
}

const checks: Readonly<Record<string, Check>> = {
  "shuffled updates give the same model": async (make, { ordered = false }) => {
    if (ordered) return;
    for (let seed = 0; seed < 4; seed++) {
      const { server, updates } = await warm(make, seed);
      const shuffled = drawsOf("shuffle", seed).shuffle(updates.slice());
      const [a, b] = [await aggregated(make(), server, updates), await aggregated(make(), server, shuffled)];
      // Float64 sums in another order differ by about 1e-15; rounding to float32 can make one unit of that, 2⁻²³.
      closeTo(b.parameters, a.parameters, 2 ** -23, 1e-12);
    }
  },
  "identical updates come out as they went in": async (make, { reproducesFrom }) => {
    if (reproducesFrom === undefined) return;
    const strategy = make();
    const before = await beginning(strategy, 1);
    const [update] = played(strategy, before, { seed: 1, uses: everyone }).updates;
    for (let count = reproducesFrom; count < 9; count++) {
      const same = Array.from({ length: count }, (_, client) => ({ ...update!, ...namesOf(client) }));
      const { parameters } = await aggregated(strategy, before.server, same);
      assert.deepEqual(parameters, update!.values, `${count} identical updates`);
    }
  },
  "shares of a group sum to one": async (make, { reproducesFrom, agreesFrom = reproducesFrom }) => {
    const strategy = make();
    const before = await beginning(strategy, 2);
    const { updates } = played(strategy, before, { seed: 2 });
    const { layout } = smallTask(strategy).setting;
    for (const group of layout.groups.keys()) {
      const weights = updates.map((update) => strategy.weight(update, group, layout));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [at, weight] of weights.entries()) {
        assert.ok(weight >= 0 && weight < Infinity, `group ${group}: client ${at} weighs ${weight}`);
      }
      const has = ({ plan }: Update) => plan.scope?.groups?.includes(group) ?? true;
      const isTrained = updates.some((update) => has(update) && hasTrained(update, group));
      assert.ok(total > 0 || !isTrained, `group ${group} weighs nothing`);
    }
    if (agreesFrom === undefined) return;
    // Clients of different sizes, budgets and counts that all learned the same move the model by just that.
    const delta = new Float32Array(layout.size).map((_, i) => Math.sin(i));
    const agreed = played(strategy, before, { seed: 2, delta, uses: everyone }).updates;
    const { parameters } = await aggregated(strategy, before.server, agreed);
    closeTo(parameters, agreed[0]!.values, 2 ** -22, 1e-6);
  },
  "a round without updates leaves everything untouched": async (make) => {
    if (make().finishesAlways === true) return;
    const { server } = await warm(make, 3);
    assert.deepEqual(await aggregated(make(), server, [], 2), server);
  },
  "a group nobody trained is bit-identical afterwards": async (make, { restless = false }) => {
    if (restless) return;
    const { groups } = smallTask(make()).setting.layout;
    for (const idle of new Set([0, Math.min(3, groups.length - 1), groups.length - 1])) {
      const { server, memories } = await warm(make, 4);
      const { ranges } = groups[idle]!;
      server.parameters[ranges[0]!.start] = -0;
      const uses = (client: number, group: number) => group !== idle && (client + group) % 5 !== 0;
      const { updates } = played(make(), { server, memories }, { seed: 5, round: 2, uses });
      const { parameters } = await aggregated(make(), server, updates, 2);
      for (const { start, end } of ranges) {
        assert.deepEqual(parameters.slice(start, end), server.parameters.slice(start, end), `group ${idle}`);
      }
      assert.notDeepEqual(parameters, server.parameters, "the other groups move");
    }
  },
  "bytes are what the plan says, and what is sent fits into them": async (make, { bytes, masked = false }) => {
    const strategy = make();
    const { layout } = smallTask(strategy).setting;
    for (const { plan, update, isTrained } of await firstAnswers(strategy, 6)) {
      const { down, up } = bytesOf(plan, layout);
      if (bytes !== undefined) assert.deepEqual({ down, up }, bytes(layout.size, layout.groups.length));
      const besides = Object.values(update.sent).reduce<number>(
        (sum, value) => sum + (typeof value === "number" ? 8 : 4 * value.length),
        0,
      );
      const changed = update.values.filter((value, i) => value !== update.base[i]).length;
      // What a method compresses takes a bit for each entry at least.
      const values = isTrained ? 4 * changed : Math.ceil(changed / 8);
      const least = besides + (masked ? 0 : values);
      const room = up + (plan.preliminary?.up ?? 0);
      assert.ok(room >= least, `the plan has room for ${room} bytes, ${least} or more are sent`);
      assert.ok(Number.isSafeInteger(down) && down >= 0, `${down} bytes go down`);
    }
  },
  "the same round gives the same bytes twice, and its inputs stay as they are": async (make) => {
    const { server, memories } = await warm(make, 7);
    const [first, second] = [make(), make()].map((strategy) => {
      const kept = structuredClone({ server, memories });
      const round = played(strategy, { server, memories }, { seed: 8, round: 2 });
      assert.deepEqual({ server, memories }, kept, "plan and reply leave what is remembered as it is");
      return round;
    });
    assert.deepEqual(plainOf(second!), plainOf(first!));
    const kept = structuredClone({ server, updates: first!.updates });
    const results = [make(), make()].map((strategy) => aggregated(strategy, server, first!.updates, 2));
    const [a, b] = await Promise.all(results);
    assert.deepEqual(b, a);
    assert.deepEqual({ server, updates: first!.updates }, kept, "the aggregation leaves its inputs as they are");
  },
  "what is remembered, planned and sent survives being written, and the next round is the same after it": async (
    make,
  ) => {
    const { server, memories, updates } = await warm(make, 9);
    const now: Remembered = { server, memories };
    const written = encode({ now, updates });
    const read = decode(written) as { readonly now: Remembered; readonly updates: readonly Update[] };
    assert.deepEqual(read, { now, updates });
    assert.ok(Buffer.from(encode(read)).equals(written), "written again, it has the same bytes");
    const [a, b] = [played(make(), now, { seed: 10, round: 2 }), played(make(), read.now, { seed: 10, round: 2 })];
    assert.deepEqual(plainOf(b), plainOf(a));
    const straight = await aggregated(make(), server, a.updates, 2);
    assert.deepEqual(await aggregated(make(), read.now.server, b.updates, 2), straight);
  },
  "a kind of plan has one program, and every extra input is declared and used": async (make) => {
    const strategy = make();
    const answers = await firstAnswers(strategy, 11);
    for (const { plan } of new Map(answers.map((answer) => [JSON.stringify(answer.plan.kind), answer])).values()) {
      const { steps, programs } = programsOf(strategy, plan);
      const digests = (all: typeof programs) => all.map((program) => encodeProgram(program).digest);
      assert.deepEqual(digests(programsOf(make(), plan).programs), digests(programs), "the same kind, another program");
      const read = programs.flatMap(({ inputs, outputs }) => {
        const nodes = new Set(reachable(Object.values(outputs)));
        return Object.keys(inputs).filter((name) => nodes.has(inputs[name]!.node));
      });
      for (const name of Object.keys(plan.inputs ?? {})) {
        assert.ok(read.includes(name), `the plan feeds ${name}, which no program reads`);
      }
      for (const name of Object.keys(steps.given ?? {})) {
        assert.ok(read.includes(name), `steps declare ${name}, which no program reads`);
        assert.ok(plan.inputs?.[name] !== undefined, `steps declare ${name}, which the plan does not feed`);
      }
    }
  },
  "a sampler of its own chooses of those who are there as many as are wanted, each once, and the same again": async (
    make,
  ) => {
    if (make().sampler === undefined) return;
    const { server } = await warm(make, 13);
    const { setting } = smallTask(make());
    let memories: readonly Plain[] = [null, null];
    for (const [turn, [there, count]] of (
      [
        [8, 3],
        [5, 5],
        [4, 6],
        [6, 1],
        [0, 2],
      ] as const
    ).entries()) {
      const eligible = drawsOf("eligible", turn)
        .sample(setting.clients, there)
        .sort((a, b) => a - b)
        .map(clientId);
      const [first, second] = memories.map((memory) => {
        const from = { round: roundOf(2 + turn), eligible, count, memory, server };
        const kept = structuredClone(from);
        const selection = make().sampler!.select(from, setting, drawsOf("sampler", turn));
        assert.deepEqual(from, kept, "a selection leaves what it sees as it is");
        return selection;
      });
      assert.deepEqual(second, first, "the same selection from a memory that was written and read");
      const { clients, memory } = first!;
      const chosen = new Set(clients.map(({ client }) => client));
      assert.equal(chosen.size, clients.length, "nobody is chosen twice");
      const most = Math.min(count, there);
      if (make().sampler!.fewer === true) assert.ok(clients.length <= most, `${clients.length}, at most ${most}`);
      else assert.equal(clients.length, most, `${count} of ${there}`);
      assert.ok(
        [...chosen].every((client) => eligible.includes(client)),
        "who is chosen is there",
      );
      memories = [memory, decode(encode(memory)) as Plain];
    }
  },
  "what an update with a discount of 0 holds has no influence": async (make) => {
    const { server, updates } = await warm(make, 12);
    const [first, ...others] = updates as [Update, ...Update[]];
    const silent = { ...first, discount: 0 };
    const { layout } = smallTask(make()).setting;
    for (const group of first.trained.keys())
      assert.equal(make().weight(silent, group, layout), 0, `weight in group ${group}`);
    const other = { ...silent, values: first.values.map((value, i) => value + (value === first.base[i] ? 0 : 0.5)) };
    const [a, b] = [
      [silent, ...others],
      [other, ...others],
    ].map((all) => aggregated(make(), server, all));
    assert.deepEqual((await b!).parameters, (await a!).parameters);
  },
};

/** Of everybody, in round 1 and in the prelude before it. */
async function firstAnswers(strategy: Strategy, seed: number) {
  const { answers } = played(strategy, await beginning(strategy, seed), { seed });
  if (strategy.prelude !== true) return answers;
  return [...played(strategy, unplayed(strategy, seed), { seed, round: 0 }).answers, ...answers];
}

const realCheck = "a real round with a client that drops out is the same when it is resumed from its middle";

/** After one round; and what a second one brings, from clients that had received another model. */
async function warm(make: Make, seed: number) {
  const strategy = make();
  const first = await beginning(strategy, seed);
  const round = played(strategy, first, { seed });
  const server = await aggregated(strategy, first.server, round.updates);
  const base = first.server.parameters;
  const { updates } = played(strategy, { server, memories: round.memories }, { seed, base, round: 2 });
  return { server, memories: round.memories, updates };
}

const everyone = (): boolean => true;

const namesOf = (client: number) => ({ client, participation: client }) as Pick<Update, "client" | "participation">;

/** Without the functions of a client's view. */
const plainOf = ({ answers }: ReturnType<typeof played>) =>
  answers.map(({ plan, update, memory }) => ({ plan, update, memory }));

function closeTo(actual: Float32Array, expected: Float32Array, relative: number, absolute: number): void {
  for (const [i, value] of expected.entries()) {
    const gap = Math.abs(value - actual[i]!);
    assert.ok(gap <= relative * Math.abs(value) + absolute, `element ${i} is ${actual[i]}, expected ${value}`);
  }
}
