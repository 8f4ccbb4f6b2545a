/**
 * The rules of a federation, each as a checker of its own that knows only what a run writes down and what the world
 * counts. None of them trusts the ledger, which the run itself is checked by.
 */
import assert from "node:assert/strict";
import { type ClientId, clientId, clientName } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { invitations } from "../../../src/fl/policies/synchronous.ts";
import type { Scenario } from "../../../src/scenario/define.ts";
import { policySpecOf } from "../../../src/scenario/schema.ts";
import { Churn } from "../../../src/sim/availability/churn.ts";
import { digestOfLines, type TraceRow } from "../../../src/sim/kernel/trace.ts";
import { EventRules } from "../../../src/study/event-rules.ts";
import type { Checker, Look } from "./drive.ts";
import { everyEvents, nothingLeaks } from "./holdings.ts";
import { goesOn } from "./liveness.ts";

export const checkersFor = (scenario: Scenario): Checker[] => [
  timeNeverGoesBack(),
  endsOnce(),
  countsFairly(scenario),
  eventRules(),
  bytesAreConserved(),
  weightsSumToOne(scenario),
  roundsAddUp(scenario),
  policyHolds(scenario),
  adapterIsFinite(),
  digestIsOfTheLines(),
  nothingLeaks(),
  goesOn(scenario),
];

const clientOf = (name: unknown): string => String(name).replace("client/", "");
const isClient = (name: unknown): boolean => typeof name === "string" && name.startsWith("client/");

function timeNeverGoesBack(): Checker {
  let now = 0;
  let row = 0;
  let ended = 0;
  let closed = 0;
  const check = (look: Look) => {
    assert.ok(look.now >= now, `the clock went from ${now} to ${look.now}`);
    now = look.now;
    for (const { t, type } of look.trace) {
      assert.ok(t >= row && t <= now, `"${type}" is written down at ${t}, after ${row}, at ${now}`);
      row = t;
    }
    for (const { participation, endedAt } of look.participations) {
      assert.ok(endedAt >= ended && endedAt <= now, `participation ${participation} ended at ${endedAt}`);
      ended = endedAt;
    }
    for (const { round, startedAt, closedAt } of look.rounds) {
      assert.ok(startedAt >= closed && closedAt >= startedAt, `round ${round} from ${startedAt} to ${closedAt}`);
      closed = closedAt;
    }
  };
  return { name: "time never goes back", afterEvent: check, atEnd: check };
}

/** Every invitation ends in exactly one of counted, late, dropped, rejected. */
function endsOnce(): Checker {
  let invited = 0;
  const ended = new Set<number>();
  const traced = new Set<unknown>();
  const check = ({ trace, participations }: Look) => {
    for (const row of trace) {
      if (row.type === "sent" && row.message === "train") invited++;
      if (row.type !== "ended") continue;
      assert.ok(!traced.has(row.participation), `participation ${row.participation} ends twice in the trace`);
      traced.add(row.participation);
    }
    for (const { participation, outcome } of participations) {
      assert.ok(!ended.has(participation), `participation ${participation} ended before it was ${outcome}`);
      assert.ok(participation >= 0 && participation < invited, `participation ${participation} of ${invited}`);
      ended.add(participation);
    }
  };
  return {
    name: "every invitation ends once",
    afterEvent: check,
    atEnd(look) {
      check(look);
      assert.equal(ended.size, invited, "invitations that ended");
      assert.deepEqual(traced, ended, "endings in the trace");
    },
  };
}

/** No update is counted that never came, came after its deadline, or came from a client that was gone. */
function countsFairly({ data }: Scenario): Checker {
  const spec = policySpecOf(data);
  const isBound = spec.type === "synchronous" && spec.late !== "stale";
  const deadline = isBound && typeof spec.deadline === "number" ? spec.deadline : Infinity;
  const began = new Map<unknown, number>();
  const senders = new Map<unknown, string>();
  const received = new Map<string, number[]>();
  const lost = new Map<string, number[]>();
  const add = (lists: Map<string, number[]>, client: string, t: number) => {
    const list = lists.get(client);
    if (list === undefined) lists.set(client, [t]);
    else list.push(t);
  };
  const { churn } = data.world;
  const members = churn === undefined ? null : new Churn(churn as never, new Rng(data.seed));
  const check = ({ trace, participations }: Look) => {
    for (const row of trace) {
      if (row.type === "round-began") began.set(row.round, row.t);
      if (row.type === "sent" && row.message === "update") senders.set(row.n, clientOf(row.from));
      if (row.type === "turn" && row.message === "update") add(received, senders.get(row.n)!, row.t);
      if (row.type === "lost" && row.message !== "acknowledge") {
        add(lost, clientOf(isClient(row.to) ? row.to : row.from), row.t);
      }
    }
    for (const part of participations) {
      const { participation, client, round, invitedAt, downloadedAt, trainedAt, arrivedAt, endedAt, outcome } = part;
      const who = `${client} (participation ${participation})`;
      const { reportedAt = null, answeredAt = null } = part;
      const passed = [invitedAt, downloadedAt, trainedAt, reportedAt, answeredAt, arrivedAt, endedAt];
      const known = passed.filter((at) => at !== null);
      assert.ok(
        known.every((at, i) => i === 0 || at >= known[i - 1]!),
        `${who} went through ${known.join(", ")}`,
      );
      const { lostAt, phase } = part;
      assert.equal(lostAt === undefined, outcome !== "dropped", `${who} ended as ${outcome}, lost at ${lostAt}`);
      assert.ok(lostAt === undefined || (lostAt >= invitedAt && lostAt <= endedAt), `${who} was lost at ${lostAt}`);
      assert.equal(phase === undefined, lostAt === undefined, `${who} was lost in ${phase}`);
      if (outcome !== "counted") continue;
      assert.ok(downloadedAt !== null && trainedAt !== null && arrivedAt !== null, `${who} was counted without a part`);
      assert.ok(arrivedAt <= began.get(round)! + deadline, `${who} was counted, and came at ${arrivedAt}`);
      const times = received.get(client) ?? [];
      assert.ok(
        times.some((at) => at >= arrivedAt && at <= endedAt),
        `${who} was counted, but no update of it was received`,
      );
      const losses = (lost.get(client) ?? []).filter((at) => at > invitedAt && at < arrivedAt);
      assert.deepEqual(losses, [], `${who} was counted, and was lost on the way`);
      if (members !== null) {
        const left = members.leavesAt(clientId(Number(client.slice(2))));
        assert.ok(arrivedAt <= Math.ceil(left), `${who} was counted at ${arrivedAt}, but left for good at ${left}`);
      }
    }
  };
  return { name: "only what came in time is counted", afterEvent: check, atEnd: check };
}

/**
 * A client has one part at a time, is counted no more often than it was heard, and is held to be busy only while it has a
 * part; it is heard, and hears, in the order of sending.
 */
function eventRules(): Checker {
  const rules = new EventRules();
  const check = ({ trace, federation, events }: Look, isLast = false) => {
    for (const row of trace) rules.see(row);
    if (!isLast && events % everyEvents !== 0) return;
    const { clients, current } = federation.snapshot().roster;
    for (const [at, client] of clients.entries()) {
      const name = clientName(client as ClientId);
      assert.ok(current[at] === -1 || rules.isBusy(name), `${name} is held to be busy, and has nothing to do`);
    }
  };
  return {
    name: "the event log keeps its rules",
    afterEvent: (look) => check(look),
    atEnd: (look) => check(look, true),
  };
}

/** At any instant and in each direction, sent = received + lost + under way; what was delivered was received. */
function bytesAreConserved(): Checker {
  const sizes = new Map<unknown, { bytes: number; isUp: boolean }>();
  const delivered = { up: 0, down: 0 };
  const arrived = new Set<unknown>();
  const isOfNetwork = (row: TraceRow) => isClient(row.from) !== isClient(row.to) && row.from !== "outside";
  const check = ({ trace, federation: { world } }: Look) => {
    for (const row of trace) {
      if (row.type === "sent" && isOfNetwork(row)) {
        sizes.set(row.n, { bytes: row.bytes as number, isUp: isClient(row.from) });
      }
      const found = row.type === "turn" || row.type === "delivered" || row.type === "corrupted";
      const size = found && !arrived.has(row.n) ? sizes.get(row.n) : undefined;
      if (size === undefined) continue;
      arrived.add(row.n);
      delivered[size.isUp ? "up" : "down"] += size.bytes;
    }
    const { traffic } = world;
    const under = { up: 0, down: 0 };
    for (const flight of world.snapshot().flights.slots) {
      if (flight === null || !flight.isMetered || flight.step === "copy" || flight.is === "work") continue;
      under[flight.is === "up" ? "up" : "down"] += flight.total;
    }
    const { downloadSent, downloadReceived, downloadLost, uploadSent, uploadReceived, uploadLost } = traffic;
    assert.equal(downloadSent, downloadReceived + downloadLost + under.down, "bytes of downloads");
    assert.equal(uploadSent, uploadReceived + uploadLost + under.up, "bytes of uploads");
    assert.ok(delivered.down <= downloadReceived, `${delivered.down} bytes delivered, ${downloadReceived} received`);
    assert.ok(delivered.up <= uploadReceived, `${delivered.up} bytes delivered, ${uploadReceived} received`);
  };
  return { name: "bytes are conserved", afterEvent: check, atEnd: check };
}

function weightsSumToOne({ data }: Scenario): Checker {
  const check = ({ rounds }: Look) => {
    for (const { round, counted, weights, aggregated } of rounds) {
      assert.equal(weights.length, counted, `weights of round ${round}`);
      assert.equal(aggregated, counted > 0, `round ${round} counted ${counted}`);
      if (counted === 0) continue;
      const sum = weights.reduce((total, { weight }) => total + weight, 0);
      assert.ok(Math.abs(sum - 1) < 1e-9, `the weights of round ${round} sum to ${sum}`);
      assert.ok(
        weights.every(({ weight }) => weight >= 0 && weight <= 1),
        `a weight of round ${round} is not a share`,
      );
      if (!data.timingOnly) continue;
      assert.ok(weights.every(({ weight }) => weight === 1 / counted));
    }
  };
  return { name: "weights sum to one", afterEvent: check, atEnd: check };
}

/** Rows of rounds and rows of participations tell the same story. */
function roundsAddUp({ data }: Scenario): Checker {
  const totals = { counted: 0, late: 0, dropped: 0, rejected: 0 };
  const rounds = { counted: 0, late: 0, dropped: 0, rejected: 0, invited: 0 };
  const counted = new Set<string>();
  let next = 0;
  const check = (look: Look) => {
    for (const { outcome } of look.participations) totals[outcome]++;
    for (const row of look.rounds) {
      assert.equal(row.round, next++, "rounds are numbered");
      for (const key of ["counted", "late", "dropped", "rejected", "invited"] as const) {
        rounds[key] += row[key];
        assert.equal(
          row.tiers.reduce((sum, tier) => sum + tier[key], 0),
          row[key],
          `${key} over the tiers of round ${row.round}`,
        );
      }
      for (const { client } of row.weights) counted.add(client);
      assert.equal(row.distinctClients, counted.size, `distinct clients after round ${row.round}`);
    }
  };
  return {
    name: "rounds add up",
    afterEvent: check,
    atEnd(look) {
      check(look);
      const { invited, ...outcomes } = rounds;
      const most = data.rounds.count + 1;
      const isWhole = data.stop === undefined ? next === most : next <= most;
      assert.ok(isWhole, `${next} rounds, with the base model before the first, expected ${most}`);
      assert.deepEqual(outcomes, totals, "endings in rounds and in participations");
      assert.equal(
        invited,
        Object.values(totals).reduce((sum, count) => sum + count, 0),
        "invitations in rounds and endings",
      );
    },
  };
}

function digestIsOfTheLines(): Checker {
  return {
    name: "the digest is that of the event log",
    async atEnd(_, { events, digest }) {
      assert.equal(await digestOfLines(events.split("\n").slice(0, -1)), digest);
    },
  };
}

/** What the policy was told about sizes, deadlines and gaps. */
function policyHolds({ data }: Scenario): Checker {
  const spec = policySpecOf(data) as Readonly<Record<string, number | string | null>>;
  const { minimumGap } = data.rounds;
  const last = new Map<string, number>();
  const invitedIn = new Map<string, number[]>();
  const check = ({ participations, rounds }: Look) => {
    for (const { client, round } of participations) {
      const list = invitedIn.get(client);
      if (list === undefined) invitedIn.set(client, [round]);
      else list.push(round);
    }
    for (const { round, counted, invited, aggregated, startedAt, closedAt } of rounds) {
      if (round === 0) continue;
      const goal = (spec.type === "synchronous" ? (spec.goal ?? spec.cohort) : (spec.buffer ?? Infinity)) as number;
      assert.ok(counted <= (spec.type === "fedasync" ? 1 : goal), `round ${round} counted ${counted}`);
      if (spec.type !== "synchronous") continue;
      const most = invitations(spec.cohort as number, spec.overSelection as number);
      assert.ok(invited <= most, `round ${round} invited ${invited}, expected at most ${most}`);
      if (aggregated && data.timingOnly)
        assert.ok(counted >= (spec.minUpdates as number), `round ${round}: ${counted}`);
      const limit = Math.max(Math.ceil(spec.deadline as number), data.rounds.patience + 20_000);
      if (spec.deadline !== null) assert.ok(closedAt - startedAt <= limit, `round ${round} took too long`);
    }
  };
  return {
    name: "the policy's numbers hold",
    afterEvent: check,
    atEnd(look) {
      check(look);
      if (minimumGap === 0) return;
      for (const [client, list] of invitedIn) {
        // Of a prelude, in which everybody takes part, nobody has to rest.
        for (const round of list.filter((round) => round > 0).sort((a, b) => a - b)) {
          const before = last.get(client);
          assert.ok(before === undefined || round - before > minimumGap, `${client} in rounds ${before} and ${round}`);
          last.set(client, round);
        }
      }
    },
  };
}

function adapterIsFinite(): Checker {
  return {
    name: "the adapter is finite",
    atEnd(_, { adapter }) {
      if (adapter !== null) assert.ok(adapter.every(Number.isFinite), "the adapter has left the numbers");
    },
  };
}
