/** A training step of the language model that several clients share, by the reference, against each client's own. */
import assert from "node:assert/strict";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import { restingFeeds } from "./llm-programs.ts";
import type { batchNumbers } from "./small-model.ts";

type Numbers = ArrayLike<number>;

/** What the step reads where all clients have one batch of so many units, and start from rest. */
export function mergedFeeds(
  adapter: AdapterLayout,
  { batch, units, personal }: { batch: ReturnType<typeof batchNumbers>; units: number; personal: Numbers },
  clients: readonly Numbers[],
): Record<string, Numbers> {
  const each = (list: (at: number) => Numbers) => clients.flatMap((_, at) => Array.from(list(at)));
  const { correction1, correction2, ...resting } = restingFeeds(adapter);
  const { ids, padding, positions, targets, inverseCount } = batch;
  return {
    ids: each(() => ids),
    padding: each(() => padding),
    positions: each((at) => positions.map((position) => position + at * units)),
    targets: each(() => targets),
    inverseCount: clients.length === 1 ? inverseCount : each(() => Array.from(targets, () => inverseCount[0]!)),
    personal: each(() => personal),
    parameters: each((at) => clients[at]!),
    ...Object.fromEntries(Object.entries(resting).map(([name, values]) => [name, each(() => values)])),
    correction1: correction1!,
    correction2: correction2!,
  };
}

/** In float64, where only the order of sums differs. */
export function assertAsAlone<Client>(
  clients: readonly Client[],
  trained: (clients: readonly Client[]) => Readonly<Record<string, Float64Array>>,
): void {
  const together = trained(clients);
  for (const [at, client] of clients.entries()) {
    const alone = trained([client]);
    const size = alone.parametersMean!.length;
    near(together.loss!.subarray(at, at + 1), alone.loss!, 1e-12);
    near(together.parametersMean!.subarray(at * size, (at + 1) * size), alone.parametersMean!, 1e-12);
    assert.deepEqual(
      together.counts!.filter((_, i) => i % clients.length === at),
      alone.counts,
    );
  }
}

export function near(got: Numbers, expected: Numbers, tolerance: number): void {
  assert.equal(got.length, expected.length);
  for (let i = 0; i < got.length; i++) {
    assert.ok(Math.abs(got[i]! - expected[i]!) <= tolerance, `${i}: ${got[i]}, expected ${expected[i]}`);
  }
}
