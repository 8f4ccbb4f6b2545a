import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { FlightTable, luckOf } from "../../../src/sim/flight/flight.ts";
import { stageNames, stages } from "../../../src/sim/flight/stages.ts";

test("every stage has luck of its own, and those that were here first have what they had", () => {
  const rng = new Rng(7);
  const flights = new FlightTable();
  const order = { ticket: 1, client: clientId(5), participation: participationId(9), round: round(3) };
  const of = (stage: (typeof stageNames)[number], repeat: number) => flights.prepare(order, stage, repeat, 1, 0);
  const first = stageNames.flatMap((stage) =>
    [0, 1, 255].flatMap((repeat) =>
      [0, 1, 63].map((attempt) => luckOf(rng, "dropout", of(stage, repeat), attempt).uniform()),
    ),
  );
  assert.equal(new Set(first).size, 9 * stageNames.length);
  const keyed = (item: number) => rng.at("dropout", 3).at(item).uniform();
  assert.equal(luckOf(rng, "dropout", of("training", 0)).uniform(), keyed(5));
  assert.equal(luckOf(rng, "dropout", of("upload", 2), 1).uniform(), keyed(5 + 2 ** 32 * (2 + 4 * (1 + 64 * 2))));
});

test("no two stages share a key, and their ends come in their order", () => {
  const facts = Object.values(stages);
  assert.equal(new Set(facts.map(({ key }) => key)).size, facts.length);
  assert.ok(facts.every(({ key }) => Number.isInteger(key) && key >= 0 && key < 256));
  const ends = facts.flatMap(({ ends }) => ends ?? []);
  assert.deepEqual(ends, ["downloadedAt", "trainedAt", "reportedAt", "answeredAt", "arrivedAt"]);
});
