import assert from "node:assert/strict";
import { totalmem } from "node:os";
import { test } from "node:test";
import { MachineError } from "../../../src/base/errors.ts";
import { chooseEngine, type Machine, mergeLimit, stepMemory } from "../../../src/engine/create.ts";

/** A machine with an NVIDIA GPU, and nothing that works on it. */
const broken: Machine = {
  gpus: () => ({ vendors: ["NVIDIA"], nvidia: true }),
  tensorflow: () => {
    throw new MachineError("TensorFlow did not load: no libcudart");
  },
  providerFault: (provider) => `no ${provider} library`,
};

const choose = (machine: Partial<Machine>, asked: "auto" | "tensorflow" | "cpu" = "auto") =>
  chooseEngine(asked, 1, { ...broken, ...machine });

test("auto takes TensorFlow when it reports a GPU", () => {
  const tensorflow = () => ({ description: "tfjs-node-gpu 4.22.0", gpu: true });
  const { engine, reason } = choose({ tensorflow, providerFault: () => null });
  assert.equal(engine, "tensorflow");
  assert.match(reason, /tfjs-node-gpu 4\.22\.0/);
});

test("auto takes CUDA when TensorFlow sees no GPU, and says so", () => {
  const tensorflow = () => ({ description: "tfjs-node 4.22.0", gpu: false });
  const { engine, reason } = choose({ tensorflow, providerFault: () => null });
  assert.equal(engine, "onnx-cuda");
  assert.match(reason, /tfjs-node 4\.22\.0 sees no GPU/);
});

test("auto takes WebGPU when CUDA has a fault", () => {
  const { engine, reason } = choose({
    providerFault: (provider) => (provider === "webgpu" ? null : "a driver is missing"),
  });
  assert.equal(engine, "onnx-webgpu");
  assert.match(reason, /no libcudart.*cuda: a driver is missing/);
});

test("auto ends at the CPU and names every fault before it", () => {
  const { engine, reason } = choose({});
  assert.equal(engine, "onnx");
  assert.match(reason, /no libcudart.*no cuda library.*no webgpu library/);
});

test("a GPU of another maker is tried with WebGPU alone", () => {
  const tried: string[] = [];
  const { engine } = choose({
    gpus: () => ({ vendors: ["AMD"], nvidia: false }),
    providerFault(provider) {
      tried.push(provider);
      return null;
    },
  });
  assert.equal(engine, "onnx-webgpu");
  assert.deepEqual(tried, ["webgpu"]);
});

test("without a GPU nothing is tried", () => {
  const unasked = () => assert.fail("no driver is touched");
  const machine = { gpus: () => ({ vendors: [], nvidia: false }), tensorflow: unasked, providerFault: unasked };
  assert.deepEqual(choose(machine), { engine: "onnx", gpu: false, reason: "ONNX Runtime on the CPU: there is no GPU" });
});

test("an engine that was asked for by name fails rather than be replaced", () => {
  assert.throws(() => choose({}, "tensorflow"), MachineError);
  assert.equal(choose({}, "cpu").engine, "cpu");
});

test("TensorFlow that was asked for may run on the CPU, and says so", () => {
  const tensorflow = () => ({ description: "tfjs-node 4.22.0", gpu: false });
  assert.match(choose({ tensorflow }, "tensorflow").reason, /sees no GPU/);
});

test("a step may take a quarter of what base weights leave of the memory, shared by the workers", () => {
  const all = 4 * stepMemory(false, 0, 1);
  assert.ok(all > 0 && all <= totalmem());
  assert.equal(stepMemory(false, 0, 2), all / 8);
  assert.equal(stepMemory(false, all / 2, 1), all / 8);
  assert.equal(stepMemory(false, 2 * all, 1), 0);
});

test("clients share calls of a GPU as far as half of its memory goes, and on a CPU each has its own", () => {
  assert.deepEqual(
    mergeLimit("auto", false, () => assert.fail("no driver is asked")),
    { clients: 1 },
  );
  assert.deepEqual(
    mergeLimit("auto", true, () => 80 * 2 ** 30),
    { bytes: 40 * 2 ** 30 },
  );
  assert.deepEqual(
    mergeLimit("auto", true, () => null),
    { bytes: 2 * 2 ** 30 },
  );
  for (const gpu of [true, false]) {
    assert.deepEqual(
      mergeLimit({ clients: 8 }, gpu, () => assert.fail("no driver is asked")),
      { clients: 8 },
    );
  }
});
