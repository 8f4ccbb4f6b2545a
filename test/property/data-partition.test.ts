import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Rng } from "../../src/base/random.ts";
import { evaluationBatches, idsOf } from "../../src/data/batches.ts";
import { apportion, sizesOf } from "../../src/data/deal.ts";
import {
  byQuantity,
  contiguous,
  dirichlet,
  iid,
  type PartitionSpec,
  partition,
  partitionSizes,
  shards,
} from "../../src/data/partition.ts";
import { compact } from "../../src/data/template.ts";
import { tokenize } from "../../src/data/tokenized.ts";
import { byteTokenizer } from "../../src/data/tokenizer.ts";

const spec: fc.Arbitrary<PartitionSpec> = fc.oneof(
  fc.constant(iid()),
  fc.constant(contiguous()),
  fc.double({ min: 0.01, max: 50, noNaN: true }).map((alpha) => dirichlet({ alpha, shortage: "fill" })),
  fc.double({ min: 0.1, max: 3, noNaN: true }).map((sigma) => byQuantity({ sigma })),
  fc.double({ min: 0.1, max: 3, noNaN: true }).map((zipf) => byQuantity({ zipf })),
);

const categories = fc.array(fc.constantFrom("a", "b", "c", "d"), { minLength: 4, maxLength: 120 });

const tokens = (list: readonly string[]) =>
  tokenize(
    list.map((category, at) => ({ instruction: `q${at}`, input: "", response: "r".repeat((at % 5) + 1), category })),
    byteTokenizer,
    compact(),
    { maxTokens: 32 },
  );

test("every example goes to exactly one client, and every client gets one", () => {
  fc.assert(
    fc.property(categories, spec, fc.nat(), fc.nat(), (list, law, of, seed) => {
      const data = tokens(list);
      // Held-out examples, here every fourth, never reach a client.
      const train = Uint32Array.from(list.keys()).filter((e) => e % 4 !== 0);
      const clients = 1 + (of % train.length);
      const dealt = partition(data, train, law, clients, new Rng(seed));
      assert.deepEqual(dealt.indices.slice().sort(), train);
      const sizes = sizesOf(data, dealt);
      assert.ok(sizes.examples.every((size) => size >= 1));
      const total = train.reduce((sum, e) => sum + data.offsets[e + 1]! - data.offsets[e]!, 0);
      assert.equal(
        sizes.tokens.reduce((a, b) => a + b, 0),
        total,
      );
    }),
    { seed: 1 },
  );
});

test("with shards no client holds more categories than it may, and none of their examples is lost", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 4, max: 20 }), fc.nat(), (wanted, clients, seed) => {
      const data = tokens(Array.from({ length: 160 }, (_, at) => "abcd"[at % 4]!));
      const all = Uint32Array.from({ length: 160 }, (_, e) => e);
      const dealt = partition(data, all, shards({ categories: wanted }), clients, new Rng(seed));
      assert.deepEqual(dealt.indices.slice().sort(), all);
      for (let c = 0; c < clients; c++) {
        const own = dealt.indices.subarray(dealt.offsets[c], dealt.offsets[c + 1]);
        assert.equal(new Set(Array.from(own, (e) => data.category[e])).size, wanted);
      }
    }),
    { seed: 2 },
  );
});

test("apportioned numbers sum to the total and are within one of their share", () => {
  const weights = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(weights, fc.nat(100_000), fc.nat(5), (list, extra, minimum) => {
      const sum = list.reduce((a, b) => a + b, 0);
      fc.pre(sum > 1e-6);
      const sizes = apportion(Float64Array.from(list), minimum * list.length + extra, minimum);
      assert.equal(
        sizes.reduce((a, b) => a + b, 0),
        minimum * list.length + extra,
      );
      for (const [at, weight] of list.entries()) {
        assert.ok(Math.abs(sizes[at]! - minimum - (weight / sum) * extra) <= 1 + 1e-6);
      }
    }),
    { seed: 3 },
  );
});

test("sizes of silos add up on both sides of 2³¹ and 2³², and their tokens follow from them", () => {
  const border = fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 33, 2 ** 45);
  fc.assert(
    fc.property(border, fc.integer({ min: -2, max: 2 }), fc.integer({ min: 1, max: 6 }), spec, (near, by, n, law) => {
      const sizes = { clients: n, examples: near + by, tokensPerExample: 100, tokensSpread: 0 };
      const { examples, tokens } = partitionSizes(law, sizes, new Rng(1));
      assert.equal(
        examples.reduce((a, b) => a + b, 0),
        near + by,
      );
      assert.deepEqual(
        tokens,
        examples.map((count) => 100 * count),
      );
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("batches carry exactly the response tokens of their examples, whatever their shape", () => {
  fc.assert(
    fc.property(
      categories,
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(undefined, 1, 8),
      (list, batchSize, roundTo) => {
        const data = tokens(list);
        const all = Uint32Array.from(list.keys());
        const batches = evaluationBatches(data, all, { batchSize, length: 32, ...(roundTo && { roundTo }) });
        let loss = 0;
        let rows = 0;
        for (const { length, inputs, lengths, lossPositions, targets } of batches) {
          const ids = idsOf({ inputs });
          assert.equal(lengths.length, batchSize);
          for (const [at, position] of lossPositions.entries()) {
            const [row, column] = [Math.floor(position / length), position % length];
            assert.ok(column + 1 < lengths[row]!);
            assert.equal(ids[position + 1], targets[at]);
          }
          for (const [row, used] of lengths.entries()) {
            assert.ok(ids.subarray(row * length + used, (row + 1) * length).every((id) => id === data.pad));
          }
          loss += lossPositions.length;
          rows += lengths.filter((length) => length > 0).length;
        }
        assert.equal(rows, list.length);
        assert.equal(
          loss,
          list.reduce((sum, _, at) => sum + (at % 5) + 2, 0),
        );
      },
    ),
    { seed: 4 },
  );
});
