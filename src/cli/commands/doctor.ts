/** `flame doctor`: what this machine offers, and why something is missing. */
import { createRequire } from "node:module";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { messageOf } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { chooseEngine, mergeLimit } from "../../engine/create.ts";
import { findGpus } from "../../engine/gpu.ts";
import { describeHugePages } from "../../engine/huge-pages.ts";
import { formatMerge } from "../../engine/merge-limit.ts";
import { programVersion } from "../../run/package.ts";
import { loadTensorflow } from "../../tensor/executors/tensorflow-addon.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { terminal } from "../screen/terminal.ts";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly found: string;
}

/** An executor's package, and whether runs are possible without it. */
interface Executor {
  readonly name: string;
  readonly package: string;
  readonly needed: boolean;
  /** What it runs on, asked of the loaded module. */
  readonly devices: (module: unknown) => string;
  /** How to get it. */
  readonly remedy: string;
}

const executors: readonly Executor[] = [
  {
    name: "onnx",
    package: "onnxruntime-node",
    needed: true,
    devices: (module) => {
      const { listSupportedBackends } = module as {
        listSupportedBackends?: () => { name: string; bundled: boolean }[];
      };
      return (
        listSupportedBackends?.()
          .map(({ name }) => name)
          .join(", ") ?? "cpu"
      );
    },
    remedy: "npm install onnxruntime-node",
  },
  {
    name: "tfjs",
    package: "@tensorflow/tfjs-core",
    needed: false,
    devices: () => "cpu, slow: for comparison only",
    remedy: "npm install @tensorflow/tfjs-core @tensorflow/tfjs-backend-cpu",
  },
];

export function doctor(options: { readonly json?: boolean }): void {
  const machine = describeMachine();
  const installed = executors.map(tryExecutor);
  const needed = installed.every(({ ok }, index) => ok || !executors[index]!.needed);
  const found = [...installed, tryTensorflow(), tryAuto()];
  if (options.json === true) {
    terminal.out.write(`${JSON.stringify({ version: programVersion(), machine, executors: found })}\n`);
  } else {
    terminal.out.write(`flame-sim ${programVersion()}\n`);
    for (const finding of [...machine, ...found]) terminal.out.write(`${line(finding)}\n`);
  }
  if (!needed) process.exitCode = exitCodes.failed;
}

function describeMachine(): Finding[] {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isSupported = major > 22 || (major === 22 && minor >= 2) || (major === 20 && minor >= 15);
  const cores = availableParallelism();
  const { vendors } = findGpus();
  const total = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
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

function tryExecutor({ name, package: packageName, devices, remedy }: Executor): Finding {
  const require = createRequire(import.meta.url);
  try {
    require.resolve(packageName);
  } catch {
    return { what: name, ok: false, found: `${packageName} is not installed: ${remedy}` };
  }
  try {
    const module: unknown = require(packageName);
    const { version } = require(`${packageName}/package.json`) as { version: string };
    return { what: name, ok: true, found: `${packageName} ${version}: ${devices(module)}` };
  } catch (error) {
    return { what: name, ok: false, found: `${packageName} does not load: ${messageOf(error).split("\n")[0]}` };
  }
}

/** TensorFlow comes in two packages, and the first that loads is taken. */
function tryTensorflow(): Finding {
  const what = "tensorflow";
  try {
    const { description, gpu } = loadTensorflow();
    return { what, ok: true, found: `${description}: ${gpu ? "GPU, CPU" : "CPU; it sees no GPU"}` };
  } catch (error) {
    const remedy = "npm install @tensorflow/tfjs-node-gpu, or @tensorflow/tfjs-node (both download libtensorflow)";
    return { what, ok: false, found: `${messageOf(error)} (${remedy})` };
  }
}

/** What a run takes when nobody says which. */
function tryAuto(): Finding {
  const { engine, gpu, reason } = chooseEngine("auto");
  const merge = formatMerge(mergeLimit("auto", gpu));
  return { what: "--engine auto", ok: true, found: `${engine}: ${reason}; ${merge}` };
}

const line = ({ what, ok, found }: Finding): string =>
  `${ok ? colors.green("ok  ") : colors.yellow("none")} ${what.padEnd(18)} ${found}`;
