/** Each rule of the swarm is broken once, to see that it would show. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import type { Millis } from "../../src/base/units.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../src/folder/saved-state.ts";
import type { Federation } from "../../src/run/federation.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import type { SimEvent } from "../../src/sim/kernel/event-queue.ts";
import type { TraceRow } from "../../src/sim/kernel/trace.ts";
import { checkersFor } from "../support/swarm/checkers.ts";
import { type Checker, type Look, play } from "../support/swarm/drive.ts";
import { caseOf, scenarioOf } from "../support/swarm/generate.ts";
import { Workshop } from "../support/swarm/judge.ts";
import { mutants } from "../support/swarm/mutants.ts";

test("every fault that can be planted has one place in the program", () => {
  for (const [name, , file, text] of mutants) {
    const sound = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
    assert.equal(sound.split(text).length, 2, `${name}: ${file} has not once ${JSON.stringify(text)}`);
  }
});

const workshop = new Workshop();
after(() => workshop.close());

/** Plays a calm scenario while the checkers are told something else than what happened. */
async function lie(rule: string, change: (look: Look) => Look, message: RegExp, seed = 7): Promise<void> {
  const scenario = scenarioOf(caseOf("timing", seed));
  const prepared = await workshop.prepare(scenario);
  const checkers = checkersFor(scenario)
    .filter(({ name }) => name === rule)
    .map(
      ({ name, afterEvent, atEnd }): Checker => ({
        name,
        afterEvent: (look) => afterEvent?.(change(look)),
        atEnd: (look, played) => atEnd?.(change(look), played),
      }),
    );
  assert.equal(checkers.length, 1, `there is a rule "${rule}"`);
  const played = play(scenario, { prepared, pool: () => new InlinePool({}), checkers });
  await assert.rejects(played, (error: Error) => {
    assert.equal(error.name, "RuleBroken");
    assert.ok(error.message.startsWith(rule), error.message);
    assert.match(error.message, message);
    return true;
  });
}

/** Changes the first row that matches; all others pass. */
function once(matches: (row: TraceRow) => boolean, change: (row: TraceRow) => readonly TraceRow[]) {
  let isDone = false;
  return (look: Look): Look => ({
    ...look,
    trace: look.trace.flatMap((row) => {
      if (isDone || !matches(row)) return [row];
      isDone = true;
      return change(row);
    }),
  });
}

test("a row of an earlier time", () =>
  lie(
    "time never goes back",
    once(
      ({ t }) => t > 1_000,
      (row) => [{ ...row, t: 0 }],
    ),
    /is written down at 0/,
  ));

test("a participation that ends twice", () =>
  lie(
    "every invitation ends once",
    once(
      ({ type }) => type === "ended",
      (row) => [row, row],
    ),
    /participation \d+ ends twice/,
  ));

test("an invitation that never ends", () =>
  lie(
    "every invitation ends once",
    (look) => ({ ...look, participations: look.participations.filter(({ participation }) => participation !== 3) }),
    /invitations that ended/,
  ));

test("an update that was counted and never came", () =>
  lie(
    "only what came in time is counted",
    once(
      ({ type, message }) => type === "turn" && message === "update",
      () => [],
    ),
    /was counted, but no update of it was received/,
  ));

test("an update that was counted after its deadline", () =>
  lie(
    "only what came in time is counted",
    (look) => ({
      ...look,
      participations: look.participations.map((part) =>
        part.outcome === "counted" ? { ...part, arrivedAt: 1e9, endedAt: 1e9 } : part,
      ),
    }),
    /was counted, and came at 1000000000/,
  ));

test("a client that is invited while it is busy", () =>
  lie(
    "the event log keeps its rules",
    once(
      ({ type, message }) => type === "sent" && message === "train",
      (row) => [row, row],
    ),
    /is invited at \d+, and busy since 0/,
  ));

test("a message that is heard after a later one", () =>
  lie(
    "the event log keeps its rules",
    once(
      ({ type, actor }) => type === "turn" && String(actor).startsWith("client/"),
      (row) => [{ ...row, n: 1e6 }],
    ),
    /message \d+ to c-\d+ is heard at \d+, after 1000000/,
  ));

test("an update that is heard twice", () =>
  lie(
    "the event log keeps its rules",
    once(
      ({ type, message }) => type === "turn" && message === "update",
      (row) => [row, row],
    ),
    /"update" \d+ is heard at \d+, and is not on its way/,
  ));

test("a client that is held to be busy after its update was heard", () =>
  lie(
    "the event log keeps its rules",
    (look) => {
      const { roster, ...parts } = look.federation.snapshot();
      const snapshot = () => ({ ...parts, roster: { ...roster, current: roster.current.fill(1) } });
      return { ...look, federation: Object.create(look.federation, { snapshot: { value: snapshot } }) as Federation };
    },
    /c-\d+ is held to be busy, and has nothing to do/,
  ));

test("an update that is counted twice and was heard once", () =>
  lie(
    "the event log keeps its rules",
    once(
      ({ type, outcome }) => type === "ended" && outcome === "counted",
      (row) => [row, row],
    ),
    /is counted at \d+, and no update of it was heard for that/,
  ));

test("a run that is stuck says who waits for whom", async () => {
  const scenario = scenarioOf(caseOf("timing", 7));
  const prepared = await workshop.prepare(scenario);
  const month = 30 * 86_400_000;
  const stuck = play(scenario, {
    prepared,
    pool: () => new InlinePool({}),
    checkers: checkersFor(scenario).filter(({ name }) => name === "a run goes on"),
    interruptAfter: [20],
    damage(bytes) {
      const checkpoint = structuredClone(decodeCheckpoint(bytes, "to be damaged"));
      const { kernel } = checkpoint.parts as { kernel: { queue: SimEvent[] } };
      kernel.queue = kernel.queue.map((event) => ({ ...event, time: (event.time + month) as Millis }));
      return encodeCheckpoint(checkpoint);
    },
  });
  await assert.rejects(stuck, (error: Error) => {
    assert.match(error.message, /^a run goes on: no round and no part in one has ended for \d+ events and 30d/);
    assert.match(error.message, /at \d+ the server is open in round 1: .* out, .*; \d+ events are scheduled/);
    assert.match(error.message, /the server waits for c-\d+ \(participation \d+, invited at \d+\): .+/);
    return true;
  });
});

test("bytes that come out of nothing", () =>
  lie(
    "bytes are conserved",
    once(
      ({ type, message }) => type === "sent" && message === "train",
      (row) => [{ ...row, bytes: 1e12 }],
    ),
    /bytes delivered/,
  ));

test("weights that do not sum to one", () =>
  lie(
    "weights sum to one",
    (look) => ({
      ...look,
      rounds: look.rounds.map((row) => ({
        ...row,
        weights: row.weights.map((part) => ({ ...part, weight: part.weight * 1.1 })),
      })),
    }),
    /the weights of round \d+ sum to 1.1/,
  ));

test("a round that is missing from the metrics", () =>
  lie(
    "rounds add up",
    (look) => ({ ...look, rounds: look.rounds.filter(({ round }) => round !== 2) }),
    /rounds are numbered/,
  ));

test("more updates than the policy asked for", () =>
  lie(
    "the policy's numbers hold",
    (look) => ({ ...look, rounds: look.rounds.map((row) => ({ ...row, counted: row.counted + 100 })) }),
    /round \d+ counted 10\d/,
  ));
