/** `flame doctor`: what this machine offers, and why something is missing. */
import { createRequire } from "node:module";
import { availableParallelism, cpus, freemem } from "node:os";
import { machineMemory } from "../../base/processes.ts";
import { formatBytes } from "../../base/units.ts";
import { chooseEngine, engineFault, mergeLimit } from "../../engine/create.ts";
import { findGpus } from "../../engine/gpu.ts";
import { describeHugePages } from "../../engine/huge-pages.ts";
import { formatMerge } from "../../engine/merge-limit.ts";
import { type ChosenEngine, engineNames } from "../../engine/names.ts";
import { programVersion } from "../../run/package.ts";
import { loadTensorflow } from "../../tensor/executors/tensorflow-addon.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { terminal, wrapped } from "../screen/terminal.ts";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly found: string;
}

export function doctor(options: { readonly json?: boolean }): void {
  const machine = describeMachine();
  const engines = engineNames.map((name) => (name === "auto" ? tryAuto() : tryEngine(name)));
  if (options.json === true) {
    terminal.out.write(`${JSON.stringify({ version: programVersion(), machine, executors: engines })}\n`);
  } else {
    terminal.out.write(`flame-sim ${programVersion()}\n`);
    for (const finding of [...machine, ...engines]) terminal.out.write(`${line(finding)}\n`);
  }
  // Everything else is a matter of speed.
  if (engines.some(({ what, ok }) => what === "onnx" && !ok)) process.exitCode = exitCodes.failed;
}

function describeMachine(): Finding[] {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isSupported = major > 22 || (major === 22 && minor >= 2) || (major === 20 && minor >= 15);
  const cores = availableParallelism();
  const { vendors } = findGpus();
  const total = machineMemory();
  return [
    {
      what: "node",
      ok: isSupported,
      found: `${process.version}${isSupported ? "" : ", expected 20.15, 22.2 or newer"}`,
    },
    {
      what: "cores",
      ok: true,
      found: `${cores} (${cpus()[0]?.model.trim() || process.arch}); as many workers by default`,
    },
    { what: "memory", ok: true, found: `${formatBytes(freemem())} free of ${formatBytes(total)}` },
    { what: "huge pages", ...describeHugePages() },
    { what: "gpu", ok: vendors.length > 0, found: vendors.join(", ") || "no GPU is in sight" },
    {
      what: "shared memory",
      ok: typeof SharedArrayBuffer === "function",
      found: typeof SharedArrayBuffer === "function" ? "yes" : "SharedArrayBuffer is switched off",
    },
  ];
}

/** What an engine is made of. */
const packages: Readonly<Record<ChosenEngine, string>> = {
  onnx: "onnxruntime-node",
  "onnx-webgpu": "onnxruntime-node",
  "onnx-cuda": "onnxruntime-node",
  tensorflow: "@tensorflow/tfjs-node",
  wasm: "@tensorflow/tfjs-backend-wasm",
  cpu: "@tensorflow/tfjs-backend-cpu",
};

/** Tried, not looked up: what a package was compiled with is not what this machine can load. */
function tryEngine(engine: ChosenEngine): Finding {
  const fault = engineFault(engine);
  return { what: engine, ok: fault === null, found: fault ?? describe(engine) };
}

function describe(engine: ChosenEngine): string {
  if (engine === "tensorflow") {
    const { description, gpu } = loadTensorflow();
    return `${description}: ${gpu ? "GPU, CPU" : "CPU; it sees no GPU"}`;
  }
  const { version } = createRequire(import.meta.url)(`${packages[engine]}/package.json`) as { version: string };
  const slow = engine === "cpu" || engine === "wasm" ? ", slow: for comparison only" : "";
  return `${packages[engine]} ${version}${slow}`;
}

/** What a run takes when nobody says which. */
function tryAuto(): Finding {
  const { engine, gpu, reason } = chooseEngine("auto");
  const merge = formatMerge(mergeLimit("auto", gpu));
  return { what: "--engine auto", ok: true, found: `${engine}: ${reason}; ${merge}` };
}

const line = ({ what, ok, found }: Finding): string =>
  wrapped(`${ok ? colors.green("ok  ") : colors.yellow("none")} ${what.padEnd(18)} ${found}`, 24);
