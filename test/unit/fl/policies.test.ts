import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { type Millis, minutes } from "../../../src/base/units.ts";
import {
  checkPolicy,
  fedasync,
  fedbuff,
  policyFromSpec,
  semiSynchronous,
  synchronous,
} from "../../../src/fl/policies/registry.ts";
import { stalenessWeight } from "../../../src/fl/policies/staleness.ts";
import { invitations } from "../../../src/fl/policies/synchronous.ts";
import { factsOf, type PolicyView, quorumOf, type RoundPolicy, waitsForAll } from "../../../src/fl/policy.ts";

const view = (change: Partial<Record<keyof PolicyView, number>> = {}): PolicyView => {
  const { now = 0, round: current = 1, roundStartedAt = 0, invited = 0, accepted = 0, outstanding = 0 } = change;
  return {
    now: now as Millis,
    round: round(current),
    roundStartedAt: roundStartedAt as Millis,
    invited,
    accepted,
    outstanding,
  };
};
const arrival = (from = 1) => ({ client: clientId(3), participation: participationId(7), round: round(from) });
const accept = (discount: number) => ({ type: "accept", participation: 7, discount });

test("a synchronous round invites its cohort with spares and sets its deadline", () => {
  const policy = synchronous({ cohort: 10, overSelection: 1.1, deadline: minutes(2) });
  assert.deepEqual(policy.onRound(view()), [
    { type: "invite", count: 11 },
    { type: "timer", after: 120_000, name: "deadline" },
  ]);
});

test("a synchronous round closes at its goal, at its deadline, or when nobody is left to wait for", () => {
  const policy = synchronous({ cohort: 4, deadline: 100, minUpdates: 2 });
  const close = (aggregate: boolean) => ({ type: "close", aggregate });
  assert.deepEqual(policy.onUpdate(view({ accepted: 1, outstanding: 2 }), arrival()), [accept(1)]);
  assert.deepEqual(policy.onUpdate(view({ accepted: 3, outstanding: 0 }), arrival()), [accept(1), close(true)]);
  assert.deepEqual(policy.onUpdate(view({ accepted: 1, outstanding: 0 }), arrival()), [accept(1), close(true)]);
  assert.deepEqual(policy.onUpdate(view({ accepted: 0, outstanding: 0 }), arrival()), [accept(1)]);
  assert.deepEqual(policy.onTimer(view({ accepted: 2 }), "deadline"), [close(true)]);
  assert.deepEqual(policy.onTimer(view({ accepted: 1 }), "deadline"), [close(false)]);
  assert.deepEqual(policy.onQuiet(view({ accepted: 1 })), [close(false)]);
});

test("an update for a round that has closed is late", () => {
  const decisions = synchronous({ cohort: 4 }).onUpdate(view({ round: 3 }), arrival(2));
  assert.deepEqual(decisions, [{ type: "refuse", participation: 7, as: "late" }]);
});

test("a late update that is used counts with the weight of its staleness, and towards the goal", () => {
  const policy = synchronous({ cohort: 3, deadline: 60, minUpdates: 1, late: "stale", maxStaleness: 3 });
  assert.deepEqual(policy.onUpdate(view({ round: 4, outstanding: 5 }), arrival(1)), [accept(0.5)]);
  assert.deepEqual(policy.onUpdate(view({ round: 4, accepted: 2, outstanding: 5 }), arrival(1)), [
    accept(0.5),
    { type: "close", aggregate: true },
  ]);
  assert.deepEqual(policy.onUpdate(view({ round: 5, accepted: 2, outstanding: 5 }), arrival(1)), [
    { type: "refuse", participation: 7, as: "rejected" },
  ]);
});

test("invitations are rounded up: 7 · 1.3 are 10, and 10 · 1.1 are 11 whatever its float says", () => {
  assert.deepEqual(
    [invitations(7, 1.3), invitations(10, 1.1), invitations(100, 1.3), invitations(1, 1)],
    [10, 11, 130, 1],
  );
});

test("staleness weights have the values of the literature", () => {
  const weight = (staleness: "polynomial" | "constant" | "hinge", age: number) =>
    stalenessWeight({ staleness, exponent: 0.5, hingeSlope: 10, hingeFrom: 4 }, age);
  const near = (actual: number, expected: number) => assert.ok(Math.abs(actual - expected) < 5e-5, `${actual}`);
  near(weight("polynomial", 0), 1);
  near(weight("polynomial", 1), Math.SQRT1_2);
  near(weight("polynomial", 3), 0.5);
  near(weight("polynomial", 8), 0.3333);
  assert.deepEqual(
    [0, 5, 50].map((age) => weight("constant", age)),
    [1, 1, 1],
  );
  // Continuous where it bends: 1 at h, 1/11 and 1/21 one and two versions later.
  assert.deepEqual(
    [0, 4, 5, 6].map((age) => weight("hinge", age)),
    [1, 1, 1 / 11, 1 / 21],
  );
});

test("FedBuff replaces who answers and closes when its buffer is full", () => {
  const policy = fedbuff({ concurrency: 5, buffer: 3 });
  assert.deepEqual(policy.onRound(view({ outstanding: 2 })), [{ type: "invite", count: 3 }]);
  assert.deepEqual(policy.onUpdate(view({ round: 4, accepted: 1, outstanding: 4 }), arrival(1)), [
    accept(0.5),
    { type: "invite", count: 1 },
  ]);
  assert.deepEqual(policy.onUpdate(view({ accepted: 2, outstanding: 4 }), arrival()), [
    accept(1),
    { type: "close", aggregate: true },
  ]);
});

test("an update staler than allowed is refused and its client replaced", () => {
  const policy = fedbuff({ concurrency: 5, buffer: 1, maxStaleness: 2 });
  assert.deepEqual(policy.onUpdate(view({ round: 4, outstanding: 4 }), arrival(1)), [
    { type: "refuse", participation: 7, as: "rejected" },
    { type: "invite", count: 1 },
  ]);
});

test("invitations that have been out for too long are given up, then replaced", () => {
  const policy = fedbuff({ concurrency: 5, timeout: 1_000 });
  assert.deepEqual(policy.onTimer(view({ now: 1_500, outstanding: 5 }), "sweep"), [
    { type: "give-up", sentBefore: 500 },
    { type: "timer", after: 0, name: "refill" },
    { type: "timer", after: 1_000, name: "sweep" },
  ]);
  assert.deepEqual(policy.onTimer(view({ now: 1_500, outstanding: 3 }), "refill"), [{ type: "invite", count: 2 }]);
});

test("FedAsync closes after every update and lets a share of it through", () => {
  const decisions = fedasync({ concurrency: 5, mixing: 0.6 }).onUpdate(view({ round: 4, outstanding: 4 }), arrival(1));
  assert.deepEqual(decisions, [accept(0.3), { type: "close", aggregate: true }]);
});

test("a semi-synchronous period that brought too little is extended", () => {
  const policy = semiSynchronous({ period: 60, concurrency: 4, minUpdates: 2 });
  assert.deepEqual(policy.onTimer(view({ accepted: 2 }), "period"), [{ type: "close", aggregate: true }]);
  assert.deepEqual(policy.onTimer(view({ accepted: 1, outstanding: 3 }), "period"), [
    { type: "invite", count: 1 },
    { type: "timer", after: 60, name: "period" },
  ]);
});

test("an endless deadline is written as null, which survives JSON", () => {
  const { spec } = synchronous({ cohort: 2, deadline: Infinity });
  assert.equal(spec.deadline, null);
  assert.deepEqual(policyFromSpec(JSON.parse(JSON.stringify(spec)) as typeof spec).spec, spec);
});

const mistakes = [
  [
    { type: "synchronous", cohort: 10, minUpdates: 11 },
    "minUpdates",
    "at most 10, the updates a round can bring",
    "11",
  ],
  [{ type: "synchronous", cohort: 10, goal: 12 }, "goal", "at most 10, the clients that are invited", "12"],
  [{ type: "synchronous", cohort: 200 }, "cohort", "at most 100, the clients of the fleet", "200"],
  [{ type: "synchronous", cohort: 10, deadline: 0 }, "deadline", "more than 0", "0"],
  [{ type: "synchronous", cohort: 10, overSelection: 0.9 }, "overSelection", "at least 1", "0.9"],
  [{ type: "synchronous", cohort: "many" }, "cohort", "a number", '"many"'],
  [{ type: "synchronous" }, "cohort", "a number", "missing"],
  [{ type: "fedbuff", concurrency: 101 }, "concurrency", "at most 100, the clients of the fleet", "101"],
  [{ type: "fedbuff", concurrency: 10, buffer: 101 }, "buffer", "at most 100, the clients of the fleet", "101"],
  [{ type: "fedbuff", concurrency: 10, timeout: -5 }, "timeout", "more than 0", "-5"],
  [{ type: "fedasync", concurrency: 10, mixing: 1.2 }, "mixing", "at most 1", "1.2"],
  [{ type: "semi-synchronous", concurrency: 10, period: -1 }, "period", "more than 0", "-1"],
  [
    { type: "semi-synchronous", concurrency: 10, period: 9, minUpdates: 101 },
    "minUpdates",
    "at most 100, the clients of the fleet",
    "101",
  ],
  [{ type: "gossip" }, "type", 'one of "fedasync", "fedbuff", "semi-synchronous", "synchronous"', '"gossip"'],
] as const;

for (const [spec, path, expected, got] of mistakes) {
  test(`a policy with ${path} ${got} is refused before anything runs: ${JSON.stringify(spec)}`, () => {
    assert.deepEqual(checkPolicy(spec, { fleetSize: 100 })[0], {
      path,
      text: `is ${got}, expected ${expected}`,
    });
  });
}

test("a policy states its deadline, its timeout and the updates it needs", () => {
  const facts = (policy: RoundPolicy) => [factsOf(policy), quorumOf(policy), waitsForAll(policy)];
  const inTime = synchronous({ cohort: 8, deadline: 900, minUpdates: 3, overSelection: 1.3 });
  assert.deepEqual(facts(inTime), [{ deadline: 900, timeout: null, minUpdates: 3, invites: 11 }, 3, false]);
  const patient = synchronous({ cohort: 8, minUpdates: 3 });
  assert.deepEqual(facts(patient), [{ deadline: null, timeout: null, minUpdates: 3, invites: 8 }, 3, true]);
  // The same client may be counted in two rounds, and an invitation may be out for ever.
  const stale = synchronous({ cohort: 8, deadline: 900, minUpdates: 3, late: "stale" });
  assert.deepEqual(facts(stale), [{ deadline: 900, timeout: null, minUpdates: 3, invites: 8 }, 1, true]);
  const buffered = fedbuff({ concurrency: 8, buffer: 3, timeout: 700 });
  assert.deepEqual(facts(buffered), [{ deadline: null, timeout: 700, minUpdates: 1, invites: null }, 1, false]);
  const periods = semiSynchronous({ period: 60, concurrency: 8, minUpdates: 2 });
  assert.deepEqual(facts(periods), [{ deadline: null, timeout: null, minUpdates: 2, invites: null }, 1, true]);
});

test("of a policy that states nothing the least is expected", () => {
  const { facts: _, ...silent } = synchronous({ cohort: 8, deadline: 900, minUpdates: 3 });
  assert.deepEqual(factsOf(silent), { deadline: null, timeout: null, minUpdates: 1, invites: null });
  assert.equal(waitsForAll(silent), true);
});

test("a policy with a field that does not exist is refused", () => {
  assert.deepEqual(checkPolicy({ type: "synchronous", cohort: 10, quorum: 5 }, { fleetSize: 100 }), [
    { path: "quorum", text: "is not a field that exists here" },
  ]);
});

test("a sound policy has no problems", () => {
  assert.deepEqual(
    checkPolicy({ type: "synchronous", cohort: 10, overSelection: 1.3, goal: 12 }, { fleetSize: 100 }),
    [],
  );
  assert.deepEqual(checkPolicy(fedbuff({ concurrency: 50, buffer: 10 }).spec, { fleetSize: 100 }), []);
});
