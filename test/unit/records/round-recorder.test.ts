import assert from "node:assert/strict";
import { test } from "node:test";
import { MachineError } from "../../../src/base/errors.ts";
import { RoundRecorder, type RoundRecorderOptions } from "../../../src/records/round-recorder.ts";
import type { PledgeRef } from "../../../src/runtime/messages/refs.ts";
import type { Evaluation } from "../../../src/tasks/training-engine.ts";

const closed = (round: number) => ({
  ...{ round, startedAt: 0, closedAt: 5, aggregated: true, trainLoss: null },
  ...{ downloadBytes: 0, uploadBytes: 0, distinctClients: 0, counts: [], expertTokens: null },
});
const evaluation: Evaluation = {
  ...{ loss: 6, targets: 3, correct: 1, exact: 0, examples: 2 },
  more: {},
  counts: new Float64Array(0),
};
const shard: PledgeRef<Evaluation> = { ref: "pledge", id: 0, bytes: 0 };

function recorderWith(options: Partial<RoundRecorderOptions>) {
  const told: string[] = [];
  const recorder = new RoundRecorder({
    ...{ tiers: ["phone"], layers: 0, reproduce: "" },
    read: async (shards) => shards.map(() => evaluation),
    release: () => void told.push("let go"),
    onMeasured: ({ round }) => void told.push(`measured ${round}`),
    onRow: ({ round }) => void told.push(`out ${round}`),
    ...options,
  });
  return { recorder, told };
}

test("the row of an evaluated round is told at once, and is in every snapshot until the next round has closed", async () => {
  const { recorder, told } = recorderWith({});
  recorder.closed(closed(1), true);
  recorder.evaluating({ round: 1, evaluations: [{ budget: 2, shards: [shard] }] });
  const before = structuredClone(recorder.snapshot());
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(told, ["measured 1"]);
  assert.deepEqual(recorder.snapshot(), before, "a snapshot does not tell whether the evaluation is ready");
  recorder.closed(closed(2), false);
  await recorder.upToDate();
  assert.deepEqual(told, ["measured 1", "out 1", "let go", "measured 2", "out 2"]);
  assert.deepEqual(recorder.snapshot().pending, []);
  recorder.closed(closed(3), true);
  recorder.evaluating({ round: 3, evaluations: [{ budget: 2, shards: [shard] }] });
  await recorder.allDone();
  assert.deepEqual(told.slice(5), ["measured 3", "out 3", "let go"]);
});

test("a row that cannot be written down ends the run with what the machine said", async () => {
  const full = () => {
    throw new MachineError("the disk is full");
  };
  const { recorder } = recorderWith({ onRow: full });
  recorder.closed(closed(1), false);
  await assert.rejects(recorder.upToDate(), /the disk is full/);
  assert.match(String(recorder.failure), /the disk is full/);
});
