import assert from "node:assert/strict";
import { test } from "node:test";
import { clientRef, type ServerMessage, serverRef } from "../../../actors/protocol.ts";
import { Roster } from "../../../actors/roster.ts";
import { server } from "../../../actors/server.ts";
import { newServer, type ServerServices, type ServerState } from "../../../actors/server-state.ts";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { millis, minutes } from "../../../src/base/units.ts";
import { synchronous } from "../../../src/fl/policies/registry.ts";
import type { RoundPolicy } from "../../../src/fl/policy.ts";
import { uniform } from "../../../src/fl/samplers/registry.ts";
import { fedavg } from "../../../src/fl/strategies/registry.ts";
import type { Effect, Next } from "../../../src/runtime/actor.ts";
import { buildFleet } from "../../../src/sim/fleet/devices.ts";
import { free, setting } from "../../support/fl-updates.ts";
import { threeTiers } from "../../support/scenarios.ts";
import { sentBy, TurnLab } from "../../support/turns.ts";

const fleet = buildFleet({ tiers: threeTiers }, { examplesPerClient: 1, tokensPerExample: 1 }, new Rng(1));

/** A server in a world where everybody is there, driven message by message. */
class Drive {
  readonly lab = new TurnLab();
  readonly services: ServerServices;
  readonly events: string[] = [];
  state: ServerState = newServer({ ref: "blob", digest: "", bytes: 0 });
  effects: readonly Effect<ServerMessage>[] = [];
  available: (client: number) => boolean = () => true;
  returns: number | null = null;

  constructor(policy: RoundPolicy, changes: Partial<ServerServices> = {}) {
    this.services = {
      rounds: 2,
      policy,
      sampler: uniform(),
      fleet,
      roster: new Roster(fleet.size),
      environment: {
        isAvailable: (client) => this.available(client),
        nextAvailability: () => (this.returns === null ? null : millis(this.returns)),
        traffic: { downloadSent: 0, downloadReceived: 0, uploadSent: 0, uploadReceived: 0 },
      },
      leastClients: 1,
      minimumGap: 0,
      patience: minutes(30),
      evaluateEvery: 1,
      downloadBytes: 1_000,
      method: { strategy: fedavg(), settingIn: () => setting, charge: free, programs: () => ({ step: {} }) },
      learning: null,
      ...changes,
    };
  }

  tell(message: ServerMessage, now = 0): this {
    const ctx = this.lab.turn(now, serverRef, this.services);
    const { state, effects } = server.receive(this.state, message, ctx) as Next<ServerState, ServerMessage>;
    this.state = state!;
    this.effects = effects;
    this.events.push(...ctx.events.map((event) => [event.type, event.participation ?? event.round].join(" ")));
    return this;
  }

  update(participation: number, now: number): this {
    const { round } = this.state.outstanding.find((open) => open.participation === participation) ?? this.state;
    return this.tell(
      {
        type: "update",
        round,
        participation: participationId(participation),
        result: { ref: "pledge", id: 100 + participation, bytes: 9 },
      },
      now,
    );
  }
}

const cohortOf4 = (changes: object = {}) => synchronous({ cohort: 4, deadline: minutes(1), minUpdates: 2, ...changes });

test("a round begins with an invitation to each of the cohort, and a timer", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" });
  const invited = sentBy(drive.effects);
  assert.equal(invited.length, 4);
  assert.deepEqual(
    invited.map(({ to }) => to),
    drive.state.outstanding.map(({ client }) => `client/${clientRef(client).id}`),
  );
  assert.ok(invited.every(({ message }) => message.type === "train" && message.round === 1));
  const timers = drive.effects.filter(({ type }) => type === "after");
  assert.deepEqual(
    timers.map((timer) => (timer.type === "after" ? [timer.duration, timer.message] : [])),
    [[60_000, { type: "timer", of: 1, name: "deadline" }]],
  );
});

test("the round closes with the last update; the counted are thanked and the next cohort is invited", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" });
  for (const participation of [2, 0, 3]) drive.update(participation, 10_000);
  assert.equal(drive.state.round, 1);
  drive.update(1, 12_000);
  assert.equal(drive.state.round, 2);
  const sent = sentBy(drive.effects);
  assert.equal(sent.filter(({ message }) => message.type === "acknowledge").length, 4);
  assert.equal(sent.filter(({ message }) => message.type === "train").length, 4);
  assert.ok(drive.events.includes("round-closed 1"));
});

test("at the deadline the silent are given up, and what they send later changes nothing", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" }).update(0, 1_000).update(1, 2_000);
  drive.tell({ type: "timer", of: drive.state.round, name: "deadline" }, 60_000);
  assert.deepEqual(drive.events.filter((event) => /counted|gave-up/.test(event)).sort(), [
    "counted 0",
    "counted 1",
    "gave-up 2",
    "gave-up 3",
  ]);
  const before = drive.state;
  drive.tell({
    type: "update",
    round: 1 as never,
    participation: participationId(2),
    result: { ref: "pledge", id: 1, bytes: 1 },
  });
  assert.deepEqual(drive.state, before);
});

test("a report is answered at once; that of a client that was given up ends its part", () => {
  const strategy = { ...fedavg(), plan: () => ({ kind: { variant: {} }, preliminary: { up: 16, down: 24 } }) };
  const charge = () => ({ ...free(clientId(0), null), upload: 500, preliminary: { up: 16, down: 24 } });
  const method = { strategy, settingIn: () => setting, charge, programs: () => ({ step: {} }) };
  const drive = new Drive(cohortOf4(), { method }).tell({ type: "begin" });
  const { client } = drive.state.outstanding[2]!;
  const report = (participation: number): ServerMessage => ({
    type: "report",
    round: round(1),
    participation: participationId(participation),
    client,
    result: { ref: "pledge", id: 102, bytes: 16 },
  });
  drive.tell(report(2), 1_000);
  const answer = { type: "answer", round: 1, participation: 2, uploadBytes: 500 };
  assert.deepEqual(sentBy(drive.effects), [
    { to: `client/${client}`, message: { ...answer, result: { ref: "pledge", id: 102, bytes: 24 } } },
  ]);
  drive.tell({ type: "timer", of: round(1), name: "deadline" }, 60_000);
  assert.ok(!drive.services.roster.isIdle(client));
  drive.tell(report(2), 61_000);
  assert.ok(drive.services.roster.isIdle(client));
  assert.deepEqual(sentBy(drive.effects), []);
});

test("with too few updates the round closes without aggregation, and those that came are rejected", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" }).update(0, 1_000);
  drive.tell({ type: "timer", of: drive.state.round, name: "deadline" }, 60_000);
  assert.ok(drive.events.includes("refused 0"));
  assert.ok(!drive.events.some((event) => event.startsWith("counted")));
});

test("a timer of a closed round is forgotten", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" });
  for (const participation of [0, 1, 2, 3]) drive.update(participation, 1_000);
  const before = drive.state;
  drive.tell({ type: "timer", of: 1 as never, name: "deadline" }, 60_000);
  assert.deepEqual(drive.state, before);
});

test("a damaged update is rejected, and its sender may be invited again", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" });
  const { client, participation, round } = drive.state.outstanding[0]!;
  drive.tell({ type: "unreadable", round, participation }, 1_000);
  assert.ok(drive.events.includes(`refused ${participation}`));
  assert.equal(drive.services.roster.isIdle(client), true);
  assert.equal(drive.state.outstanding.length, 3);
});

test("a client that is busy is not invited, whoever else is there", () => {
  const drive = new Drive(cohortOf4({ cohort: 24, minUpdates: 1 })).tell({ type: "begin" });
  assert.equal(drive.state.outstanding.length, 24);
  drive.tell({ type: "timer", of: 1 as never, name: "deadline" }, 60_000);
  assert.equal(drive.state.round, 2);
  assert.equal(drive.state.phase, "gathering", "all of them still work on round 1");
  const { client, participation } = { client: clientId(5), participation: participationId(5) };
  drive.services.roster.released(client, participation);
  drive.tell({ type: "retry", of: 2 as never }, 70_000);
  assert.deepEqual(
    drive.state.outstanding.map((invitation) => invitation.client),
    [client],
  );
});

test("a server that finds too few clients looks again when one may come back", () => {
  const drive = new Drive(cohortOf4(), { leastClients: 2 });
  drive.available = (client) => client === 3;
  drive.returns = 120_000;
  drive.tell({ type: "begin" });
  assert.equal(drive.state.phase, "gathering");
  assert.deepEqual(
    drive.effects.map((effect) => (effect.type === "after" ? [effect.duration, effect.message] : [])),
    [[120_000, { type: "retry", of: 1 }]],
  );
  drive.available = (client) => client <= 3;
  drive.tell({ type: "retry", of: 1 as never }, 120_000);
  assert.equal(drive.state.phase, "open");
  assert.equal(drive.state.startedAt, 120_000);
});

test("a server that nobody will come to abandons its rounds and ends", () => {
  const drive = new Drive(cohortOf4());
  drive.available = () => false;
  drive.tell({ type: "begin" });
  assert.equal(drive.state.phase, "finished");
  assert.deepEqual(drive.events, [
    "round-closed 0",
    "round-began 1",
    "round-closed 1",
    "round-began 2",
    "round-closed 2",
  ]);
});

test("what the server keeps from turn to turn it lets go in the end, except the adapter", () => {
  const drive = new Drive(cohortOf4()).tell({ type: "begin" });
  for (const participation of [0, 1]) drive.update(participation, 1_000);
  drive.tell({ type: "timer", of: 1 as never, name: "deadline" }, 60_000);
  for (const participation of [4, 5, 6, 7]) drive.update(participation, 70_000);
  assert.equal(drive.state.phase, "finished");
  assert.equal(drive.lab.held(), 1);
});

test("a policy that forgets an update is a bug, and is named", () => {
  const forgetful: RoundPolicy = { ...cohortOf4(), name: "forgetful", onUpdate: () => [] };
  const drive = new Drive(forgetful).tell({ type: "begin" });
  assert.throws(() => drive.update(0, 1_000), /policy forgetful says nothing about participation 0/);
});
