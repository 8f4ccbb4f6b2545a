/** What every round policy owes the server, found out by driving it with a small event loop. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { type Draws, Rng } from "../../src/base/random.ts";
import { type Millis, millis } from "../../src/base/units.ts";
import { fedasync, fedbuff, policyFromSpec, semiSynchronous, synchronous } from "../../src/fl/policies/registry.ts";
import { type Decision, factsOf, type PolicyView, type RoundPolicy, waitsForAll } from "../../src/fl/policy.ts";

policyContract(() => synchronous({ cohort: 10, deadline: 2_000, minUpdates: 4 }));
policyContract(() => synchronous({ cohort: 10, deadline: 2_000, overSelection: 1.3 }));
policyContract(() => synchronous({ cohort: 10, deadline: Infinity, minUpdates: 2 }));
policyContract(() => synchronous({ cohort: 10, deadline: 2_000, minUpdates: 2, late: "stale" }));
policyContract(() => synchronous({ cohort: 6, overSelection: 2, late: "stale", maxStaleness: 1 }));
policyContract(() => fedbuff({ concurrency: 12, buffer: 4, timeout: 3_000 }));
policyContract(() => fedbuff({ concurrency: 12, buffer: 3, maxStaleness: 1, timeout: 3_000 }));
policyContract(() => fedasync({ concurrency: 6, timeout: 3_000 }));
policyContract(() => semiSynchronous({ period: 1_500, concurrency: 12, minUpdates: 3, timeout: 3_000 }));

function policyContract(make: () => RoundPolicy): void {
  const policy = make();
  const says = `${policy.name} ${JSON.stringify(policy.spec)}:`;

  for (const losses of ["hidden", "seen"] as const) {
    test(`${says} every invitation is decided exactly once, with losses ${losses} from the server`, () => {
      for (let seed = 0; seed < 20; seed++) {
        const run = drive(policy, {
          seed,
          rounds: 30,
          dropout: 0.3,
          seesLosses: losses === "seen" || waitsForAll(policy),
        });
        for (const [participation, fates] of run.fates.entries()) {
          assert.equal(fates.length, 1, `seed ${seed}: participation ${participation} ended as ${fates}`);
        }
        assert.equal(run.closes.length, 30, `seed ${seed}: the run got stuck`);
      }
    });
  }

  test(`${says} discounts lie in (0, 1] and fresh updates get the largest`, () => {
    const { accepted } = drive(policy, { seed: 1, rounds: 50, dropout: 0 });
    const freshest = Math.max(...accepted.map(({ discount }) => discount));
    for (const { staleness, discount } of accepted) {
      assert.ok(discount > 0 && discount <= 1);
      if (staleness === 0) assert.equal(discount, freshest);
    }
  });

  test(`${says} what it states of itself is what it does`, () => {
    const { deadline, minUpdates } = factsOf(policy);
    const { accepted, closes } = drive(policy, { seed: 4, rounds: 40, dropout: 0.4, seesLosses: waitsForAll(policy) });
    for (const { at, startedAt } of accepted) assert.ok(at - startedAt <= (deadline ?? Infinity));
    for (const { aggregate, accepted: count } of closes) if (aggregate) assert.ok(count >= minUpdates);
  });

  test(`${says} a round that aggregates has updates`, () => {
    for (const { aggregate, accepted } of drive(policy, { seed: 2, rounds: 30, dropout: 0.8, seesLosses: true })
      .closes) {
      const needed = (policy.spec.minUpdates ?? policy.spec.buffer ?? 1) as number;
      assert.equal(aggregate, accepted >= needed);
    }
  });

  test(`${says} its spec is plain data that makes it again`, () => {
    const again = policyFromSpec(JSON.parse(JSON.stringify(policy.spec)) as typeof policy.spec);
    assert.deepEqual([again.name, again.spec, again.carriesOver], [policy.name, policy.spec, policy.carriesOver]);
    const options = { seed: 3, rounds: 20, dropout: 0.2, seesLosses: true };
    assert.deepEqual(drive(again, options), drive(policy, options));
  });
}

test("no update is counted after the deadline, and no more than the goal", () => {
  const policy = synchronous({ cohort: 10, deadline: 800, overSelection: 1.5, goal: 9 });
  for (let seed = 0; seed < 20; seed++) {
    const { accepted, closes, invitedPerRound } = drive(policy, { seed, rounds: 20, dropout: 0.2 });
    for (const { at, startedAt } of accepted) assert.ok(at - startedAt <= 800);
    for (const { at, startedAt, accepted: count } of closes) {
      assert.ok(at - startedAt <= 800);
      assert.ok(count <= 9);
      if (at - startedAt < 800) assert.equal(count, 9);
    }
    assert.ok(invitedPerRound.every((invited) => invited === 15));
  }
});

test("over-selection makes rounds shorter and wastes work", () => {
  const length = (overSelection: number) =>
    drive(synchronous({ cohort: 10, overSelection }), { seed: 5, rounds: 200, dropout: 0 }).now / 200;
  assert.ok(length(1.5) < 0.6 * length(1));
});

test("with C clients at work and M updates a version, mean staleness is (C − 1) / M", () => {
  for (const [concurrency, buffer] of [
    [20, 5],
    [16, 1],
    [6, 10],
  ] as const) {
    const { accepted } = drive(fedbuff({ concurrency, buffer }), { seed: 6, rounds: 20_000 / buffer, dropout: 0 });
    const mean = accepted.reduce((sum, { staleness }) => sum + staleness, 0) / accepted.length;
    // 20,000 arrivals of near-exponential staleness: standard error below 1 %, so 3 % is beyond luck; the start-up
    // transient, of the order of C arrivals, is far smaller.
    assert.ok(Math.abs(mean / ((concurrency - 1) / buffer) - 1) < 0.03, `C=${concurrency}, M=${buffer}: ${mean}`);
  }
});

test("FedBuff with a buffer as large as its clients takes a first version of fresh updates only", () => {
  const { accepted } = drive(fedbuff({ concurrency: 8, buffer: 8 }), {
    seed: 7,
    rounds: 1,
    dropout: 0,
    equalTimes: true,
  });
  assert.deepEqual(
    accepted.map(({ discount }) => discount),
    new Array(8).fill(1),
  );
  assert.deepEqual(
    accepted.map(({ participation }) => participation),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});

test("under heavy-tailed durations FedBuff counts updates sooner than rounds that wait for all", () => {
  const perSecond = (policy: RoundPolicy) => {
    const { accepted, now } = drive(policy, { seed: 8, rounds: 100, dropout: 0, heavyTail: true });
    return accepted.length / now;
  };
  assert.ok(perSecond(fedbuff({ concurrency: 10, buffer: 10 })) > 2 * perSecond(synchronous({ cohort: 10 })));
});

test("in a semi-synchronous run stragglers count later instead of never", () => {
  const { accepted, closes } = drive(semiSynchronous({ period: 500, concurrency: 10 }), {
    seed: 9,
    rounds: 50,
    dropout: 0,
  });
  assert.ok(accepted.some(({ staleness }) => staleness > 0));
  for (const { at, startedAt } of closes) assert.equal((at - startedAt) % 500, 0);
});

interface Options {
  readonly seed: number;
  readonly rounds: number;
  /** Probability that an invitation is never answered. */
  readonly dropout: number;
  /** The server learns of a loss when it happens. */
  readonly seesLosses?: boolean;
  readonly equalTimes?: boolean;
  readonly heavyTail?: boolean;
}

interface Flight {
  readonly client: number;
  readonly participation: number;
  readonly round: number;
  readonly sentAt: number;
}

type Fate = "counted" | "late" | "rejected" | "dropped" | "unfinished";
type SimEvent =
  | { at: number; type: "answer" | "loss"; flight: Flight }
  | { at: number; type: "timer"; name: string; round: number };

/** A fleet of forty clients with exponential durations of a second, and a server that does what the policy says. */
function drive(policy: RoundPolicy, options: Options) {
  const { seed, rounds, dropout, seesLosses = false } = options;
  const draws = new Rng(seed).at("policy-contract").at(0);
  const events: SimEvent[] = [];
  const outstanding = new Map<number, Flight>();
  const busy = new Set<number>();
  const fates: Fate[][] = [];
  const accepted: { participation: number; at: number; startedAt: number; staleness: number; discount: number }[] = [];
  const closes: { at: number; startedAt: number; accepted: number; aggregate: boolean }[] = [];
  const invitedPerRound: number[] = [];
  let [now, current, startedAt, invited, counted] = [0, 1, 0, 0, 0];
  let arrived: Flight | null = null;

  const view = (): PolicyView => ({
    now: now as Millis,
    round: round(current),
    roundStartedAt: startedAt as Millis,
    invited,
    accepted: counted,
    outstanding: outstanding.size,
  });
  const schedule = (event: SimEvent) => {
    // Sorted by time, first come first served among equals.
    const after = events.findIndex(({ at }) => at > event.at);
    events.splice(after === -1 ? events.length : after, 0, event);
  };
  const end = (flight: Flight, fate: Fate) => {
    fates[flight.participation]!.push(fate);
    outstanding.delete(flight.participation);
  };

  const carryOut = (decision: Decision): void => {
    switch (decision.type) {
      case "invite":
        for (let client = 0, left = decision.count; client < 40 && left > 0; client++) {
          if (busy.has(client)) continue;
          left--;
          invited++;
          const flight = { client, participation: fates.length, round: current, sentAt: now };
          fates.push([]);
          busy.add(client);
          outstanding.set(flight.participation, flight);
          const at = now + duration(draws, options);
          schedule({ at, type: draws.bernoulli(dropout) ? "loss" : "answer", flight });
        }
        break;
      case "accept": {
        assert.equal(arrived?.participation, decision.participation);
        counted++;
        const staleness = current - arrived!.round;
        accepted.push({
          participation: decision.participation,
          at: now,
          startedAt,
          staleness,
          discount: decision.discount,
        });
        end(arrived!, "counted");
        break;
      }
      case "refuse":
        assert.equal(arrived?.participation, decision.participation);
        end(arrived!, decision.as);
        break;
      case "give-up":
        for (const flight of outstanding.values()) if (flight.sentAt <= decision.sentBefore) end(flight, "dropped");
        break;
      case "timer":
        schedule({ at: now + decision.after, type: "timer", name: decision.name, round: current });
        break;
      case "close":
        closes.push({ at: now, startedAt, accepted: counted, aggregate: decision.aggregate });
        invitedPerRound.push(invited);
        if (!policy.carriesOver) for (const flight of outstanding.values()) end(flight, "late");
        [current, startedAt, invited, counted] = [current + 1, now, 0, 0];
        if (closes.length < rounds) policy.onRound(view()).forEach(carryOut);
        break;
    }
  };

  policy.onRound(view()).forEach(carryOut);
  while (closes.length < rounds) {
    const event = events.shift();
    assert.ok(event !== undefined, "nothing is left to happen");
    assert.ok(event.at >= now);
    now = event.at;
    if (event.type === "timer") {
      if (event.round === current) policy.onTimer(view(), event.name).forEach(carryOut);
    } else {
      const { flight } = event;
      busy.delete(flight.client);
      if (outstanding.has(flight.participation)) {
        if (event.type === "answer") {
          outstanding.delete(flight.participation);
          arrived = flight;
          const arrival = {
            client: clientId(flight.client),
            participation: participationId(flight.participation),
            round: round(flight.round),
          };
          policy.onUpdate(view(), arrival).forEach(carryOut);
          arrived = null;
        } else if (seesLosses) end(flight, "dropped");
      }
    }
    const timers = events.some((waiting) => waiting.type === "timer" && waiting.round === current);
    if (closes.length < rounds && outstanding.size === 0 && !timers) policy.onQuiet(view()).forEach(carryOut);
  }
  for (const flight of outstanding.values()) end(flight, "unfinished");
  return { fates, accepted, closes, invitedPerRound, now };
}

function duration(draws: Draws, { equalTimes = false, heavyTail = false }: Options): number {
  if (equalTimes) return 1_000;
  return millis(heavyTail ? draws.logNormal(6, 1.5) : draws.exponential(1_000));
}
