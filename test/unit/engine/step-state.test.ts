import assert from "node:assert/strict";
import { test } from "node:test";
import { StepState } from "../../../src/engine/step-state.ts";
import type { Executable, TensorData } from "../../../src/tensor/executors/executor.ts";

type Vectors = Readonly<Record<string, TensorData>>;

/** Adds `by` to every value of `a` and twice that to `b`, through the arrays it is handed. */
const plain = (by: number): Executable => ({
  async run(feeds, into = {}) {
    for (const [name, factor] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      into[name]!.set(Float32Array.from(feeds[name] as Float32Array, (x) => x + factor * by));
    }
    return { ...into, loss: Float32Array.of(by) };
  },
  dispose() {},
});

/** The same with the state kept out of sight; counts how often state crosses. */
function holding(by: number): Executable & { crossings: number } {
  const executable = {
    ...plain(by),
    crossings: 0,
    hold(state: Vectors) {
      executable.crossings++;
      const kept = { a: Float32Array.from(state.a as Float32Array), b: Float32Array.from(state.b as Float32Array) };
      return {
        async run(): Promise<Record<string, TensorData>> {
          kept.a = kept.a.map((x) => x + by);
          kept.b = kept.b.map((x) => x + 2 * by);
          return { loss: Float32Array.of(by) };
        },
        async read(into: Readonly<Record<string, Float32Array>>) {
          executable.crossings++;
          for (const [name, target] of Object.entries(into)) target.set(kept[name as "a" | "b"]);
        },
      };
    },
  };
  return executable;
}

const turning = (executable: Executable) => ({ executable, overwritable: new Set<string>() });

const start = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(10) });

test("steps on arrays go from one to the next", async () => {
  const state = new StepState(start());
  const executable = plain(1);
  for (let i = 0; i < 3; i++)
    assert.deepEqual((await state.steps(turning(executable), {}, [{}]))[0]!.loss, Float32Array.of(1));
  assert.deepEqual(await state.read(["a", "b"]), { a: Float32Array.of(4, 5), b: Float32Array.of(16) });
});

test("what a step may write over has one array for all steps, also after a program that may not", async () => {
  const vectors = start();
  const { a, b } = vectors;
  const state = new StepState(vectors);
  for (const overwritable of [["a"], [], ["a", "b"], ["b"], []]) {
    await state.steps({ executable: plain(1), overwritable: new Set(overwritable) }, {}, [{}]);
  }
  const end = await state.read(["a", "b"]);
  assert.deepEqual(end, { a: Float32Array.of(6, 7), b: Float32Array.of(20) });
  const once = new StepState({ a, b });
  await once.steps({ executable: plain(1), overwritable: new Set(["a", "b"]) }, {}, [{}]);
  const { a: same } = await once.read(["a"]);
  assert.equal(same, a);
});

test("a device that holds the state is asked for it once", async () => {
  const state = new StepState(start());
  const executable = holding(1);
  for (let i = 0; i < 5; i++) await state.steps(turning(executable), {}, [{}]);
  assert.deepEqual((await state.read(["a", "b"])).b, Float32Array.of(20));
  assert.equal(executable.crossings, 2);
});

test("the state follows when batches of another shape need another executable", async () => {
  const state = new StepState(start());
  const path = [holding(1), plain(10), holding(100), holding(1_000), plain(10_000)];
  for (const executable of path) await state.steps(turning(executable), {}, [{}]);
  const { a, b } = await state.read(["a", "b"]);
  assert.deepEqual([a, b], [Float32Array.of(11_112, 11_113), Float32Array.of(22_232)]);
});

test("an executable that takes several steps at once is asked once for them, and not for one alone", async () => {
  let calls = 0;
  const executable: Executable = {
    ...plain(1),
    async runAll({ a, b }, _given, steps) {
      calls++;
      const state = { a: a!.map((x) => x + steps.length), b: b!.map((x) => x + 2 * steps.length) };
      return { state, outputs: steps.map(() => ({ loss: Float32Array.of(calls) })) };
    },
  };
  const vectors = start();
  const { a, b } = vectors;
  const state = new StepState(vectors, [b]);
  const losses = [
    ...(await state.steps(turning(executable), {}, [{}, {}])),
    ...(await state.steps(turning(executable), {}, [{}, {}, {}])),
  ];
  assert.deepEqual(
    losses.map(({ loss }) => loss![0]),
    [1, 1, 2, 2, 2],
  );
  assert.deepEqual(await state.read(["a", "b"]), { a: Float32Array.of(6, 7), b: Float32Array.of(20) });
  await state.steps(turning(executable), {}, [{}]);
  assert.deepEqual([calls, (await state.read(["a"])).a], [2, Float32Array.of(7, 8)]);
  assert.deepEqual([a.length, b], [0, Float32Array.of(10)], "what is not lent is given back");
});
