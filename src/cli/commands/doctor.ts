/** `flame doctor`: what this machine offers, and why something is missing. */
import { createRequire } from "node:module";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import type { Command } from "commander";
import pc from "picocolors";
import { messageOf } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { programVersion } from "../../scenario/package.ts";
import { exitCodes } from "../failure.ts";
import { terminal } from "../terminal.ts";

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
      const { listSupportedBackends } = module as { listSupportedBackends?: () => { name: string; bundled: boolean }[] };
      return (
        listSupportedBackends?.()
          .map(({ name }) => name)
          .join(", ") ?? "cpu"
      );
    },
    remedy: "npm install onnxruntime-node",
  },
  {
    name: "tensorflow (GPU)",
    package: "@tensorflow/tfjs-node-gpu",
    needed: false,
    devices: () => "cuda",
    remedy: "npm install @tensorflow/tfjs-node-gpu (downloads libtensorflow)",
  },
  {
    name: "tensorflow",
    package: "@tensorflow/tfjs-node",
    needed: false,
    devices: () => "cpu",
    remedy: "npm install @tensorflow/tfjs-node (downloads libtensorflow)",
  },
  {
    name: "tfjs",
    package: "@tensorflow/tfjs-core",
    needed: false,
    devices: () => "cpu, slow: for comparison only",
    remedy: "npm install @tensorflow/tfjs-core @tensorflow/tfjs-backend-cpu",
  },
];

export function register(program: Command): void {
  program
    .command("doctor")
    .description("says which executors and how many cores this machine offers, and why something is missing")
    .option("--json", "print one JSON object")
    .action((options: { json?: boolean }) => {
      const machine = describeMachine();
      const found = executors.map(tryExecutor);
      const needed = found.every(({ ok }, index) => ok || !executors[index]!.needed);
      if (options.json === true) {
        terminal.out.write(`${JSON.stringify({ version: programVersion(), machine, executors: found })}\n`);
      } else {
        terminal.out.write(`flame-sim ${programVersion()}\n`);
        for (const finding of [...machine, ...found]) terminal.out.write(`${line(finding)}\n`);
      }
      if (!needed) process.exitCode = exitCodes.failed;
    });
}

function describeMachine(): Finding[] {
  const [major = 0] = process.versions.node.split(".").map(Number);
  const cores = availableParallelism();
  const total = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  return [
    { what: "node", ok: major >= 20, found: `${process.version}${major >= 20 ? "" : ", expected 20 or newer"}` },
    {
      what: "cores",
      ok: true,
      found: `${cores} (${cpus()[0]?.model.trim() || process.arch}); as many workers by default`,
    },
    { what: "memory", ok: true, found: `${formatBytes(freemem())} free of ${formatBytes(total)}` },
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

const line = ({ what, ok, found }: Finding): string =>
  `${ok ? pc.green("ok  ") : pc.yellow("none")} ${what.padEnd(18)} ${found}`;
