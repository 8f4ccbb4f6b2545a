/** Which GPUs this machine has, and whether ONNX Runtime computes on one. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { OnnxEmitter, outputName } from "../tensor/executors/onnx-emitter.ts";
import { encodeModel } from "../tensor/executors/onnx-proto.ts";
import { Graph } from "../tensor/graph/graph.ts";
import { matmul } from "../tensor/ops/matrix.ts";

export interface Gpus {
  /** Vendors, such as `NVIDIA`; empty where only the CPU computes. */
  readonly vendors: readonly string[];
  /** Whether CUDA can be expected. */
  readonly nvidia: boolean;
}

/** PCI vendors whose render devices are hardware; virtual machines show others, behind which the CPU draws. */
const pciVendors: Readonly<Record<string, string>> = { "0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel" };

/** Asks the operating system and loads no driver. */
export function findGpus(): Gpus {
  if (process.platform === "darwin") return { vendors: ["Apple"], nvidia: false };
  // Windows has no files to ask; whoever tries a GPU there learns whether it is one.
  if (process.platform !== "linux") return { vendors: ["unknown"], nvidia: true };
  const vendors = new Set(renderVendors().flatMap((vendor) => pciVendors[vendor] ?? []));
  // The second is the driver in a container, the third WSL's.
  const driver = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));
  if (driver) vendors.add("NVIDIA");
  return { vendors: [...vendors].sort(), nvidia: vendors.has("NVIDIA") };
}

function renderVendors(): string[] {
  const folder = "/sys/class/drm";
  if (!existsSync(folder)) return [];
  const devices = readdirSync(folder).filter((name) => name.startsWith("renderD"));
  return devices.flatMap((name) => {
    const path = `${folder}/${name}/device/vendor`;
    return existsSync(path) ? [readFileSync(path, "utf8").trim()] : [];
  });
}

/** Bytes of the memory of the first NVIDIA GPU; null where its driver does not say. */
export function gpuMemory(): number | null {
  const query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 10_000 });
  const mebibytes = status === 0 ? Number.parseInt(stdout, 10) : Number.NaN;
  return mebibytes > 0 ? mebibytes * 2 ** 20 : null;
}

/** What the driver calls the first NVIDIA GPU; else who made the GPU there is, or null. */
export function gpuName(): string | null {
  const query = ["--query-gpu=name", "--format=csv,noheader"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 10_000 });
  return status === 0 ? stdout.split("\n")[0]!.trim() : (findGpus().vendors[0] ?? null);
}

/** Runs in a process of its own, because a driver that does not work may end it. */
const trial = `
const [path, provider, model, output] = process.argv.slice(1);
const ort = require(path);
ort.InferenceSession.create(Buffer.from(model, "base64"), { executionProviders: [provider], logSeverityLevel: 3 })
  .then((session) => session.run({ x: new ort.Tensor("float32", Float32Array.of(1, 2, 3, 4), [2, 2]) }))
  .then((results) => results[output].getData())
  .then(([first]) => process.exit(Math.abs(first - 7) < 1e-3 ? 0 : 3))
  .catch((error) => { console.error(error.message); process.exit(2); });`;

/** Null when a matrix product comes out right on `provider`, and otherwise why it does not. Takes a second or so. */
export function providerFault(provider: "cuda" | "webgpu"): string | null {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 2]);
  const trialProgram = { name: "trial", inputs: { x }, outputs: { y: matmul(x, x) } };
  const model = encodeModel(new OnnxEmitter(null).emit(trialProgram));
  const path = createRequire(import.meta.url).resolve("onnxruntime-node");
  const options = [path, provider, Buffer.from(model).toString("base64"), outputName("y")];
  const { status, signal, stderr } = spawnSync(process.execPath, ["-e", trial, ...options], {
    encoding: "utf8",
    timeout: 60_000,
  });
  if (status === 0) return null;
  if (status === 3) return "a matrix product came out wrong";
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  return status === 2 ? (lines.at(-1) ?? "no reason given") : `it ended the process (${signal ?? `status ${status}`})`;
}
