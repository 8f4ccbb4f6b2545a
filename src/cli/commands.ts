/**
 * What `flame` understands: every command with its arguments and options. What a command does is loaded once it is asked
 * for, so that help and a mistyped option cost no more than this file.
 */
import type { Command } from "commander";
import { examples } from "./examples.ts";
import { declareModelCommands } from "./model-commands.ts";
import {
  baseOption as base,
  budgetList,
  collect,
  dropoutRates,
  mergeOption,
  minutesOption,
  nameList,
  nonNegative,
  positiveNumber,
  sampleOf,
  seedList,
  share,
  targetLoss,
  varied,
  wholeNumber,
} from "./options.ts";

export function declareCommands(program: Command): void {
  withNats(program.command("run").description("runs a scenario and leaves its results in a folder"))
    .argument("<scenario>", "a .ts, .js or scenario.json file, a run folder, or a name such as quickstart")
    .option("--seed <number>", "the seed of all chance in the run", wholeNumber)
    .option("--rounds <number>", "how many rounds", wholeNumber)
    .option("--workers <number>", threads, wholeNumber)
    .option("--data <file>", "your instructions: .json or .jsonl in Alpaca or Dolly form")
    .option("--model <folder>", "a base model's Hugging Face folder: OLMoE or a relative")
    .option(...base)
    .option("--engine <name>", "what trains: auto, onnx, …")
    .option(...mixedHardware)
    .option("--merge <clients>", "how many clients share a call of the device: auto, 8, … (default: auto)", mergeOption)
    .option(
      "--task-limit <minutes>",
      "after how long a worker that finishes no step is held to be stuck (default: 10)",
      minutesOption,
    )
    .option("--timing-only", "simulate fleet, network and rounds without training")
    .option("--calibration <file>", "what a token costs at each budget, as flame calibrate measured it")
    .option("--out <folder>", "where the results go (default: runs/<name>-<seed>-<time>)")
    .option("--force", "begin although the memory will not last")
    .option("--set <key=value>", "change a field, as in --set rounds.deadline=600000 (may be repeated)", collect, [])
    .option("--json", "print one JSON object per line")
    .option("--quiet", "print only the verdict")
    .action(async (scenario, flags) => (await import("./commands/run.ts")).runScenario(scenario, flags));

  program
    .command("forecast")
    .description("says what a run will take: bytes, virtual and real time, memory; and what may be wrong with it")
    .argument("<scenario>", "a .ts, .js or scenario.json file, a run folder, or a name such as quickstart")
    .option("--seed <number>", "the seed of all chance in the run", wholeNumber)
    .option("--rounds <number>", "how many rounds", wholeNumber)
    .option("--workers <number>", "worker threads (default: one per core)", positiveNumber)
    .option("--data <file>", "your instructions: .json or .jsonl in Alpaca or Dolly form")
    .option("--model <folder>", "a base model's Hugging Face folder: OLMoE or a relative")
    .option(...base)
    .option("--engine <name>", "what trains: auto, onnx, …")
    .option("--merge <clients>", "how many clients share a call of the device: auto, 8, … (default: auto)", mergeOption)
    .option("--timing-only", "of a run that simulates fleet, network and rounds without training")
    .option("--calibration <file>", "what a token costs at each budget, as flame calibrate measured it")
    .option("--set <key=value>", "change a field, as in --set rounds.deadline=600000 (may be repeated)", collect, [])
    .option("--json", "print one JSON object for each scenario")
    .action(async (scenario, flags) => (await import("./commands/forecast.ts")).forecastScenario(scenario, flags));

  withNats(program.command("resume").description("continues an interrupted run from its newest good checkpoint"))
    .argument("<run>", "the run's folder")
    .option("--workers <number>", threads, wholeNumber)
    .option("--engine <name>", "what trains: auto, onnx, …")
    .option(...mixedHardware)
    .option("--merge <clients>", "how many clients share a call of the device: auto, 8, … (default: auto)", mergeOption)
    .option(
      "--task-limit <minutes>",
      "after how long a worker that finishes no step is held to be stuck (default: 10)",
      minutesOption,
    )
    .option("--force", "continue although program, inputs or engine have changed; the run is marked so")
    .option("--scenario <file>", "the file of the run's scenario, if it has code of its author's")
    .option("--trust-code <digest>", "execute the code that the run folder names, if its SHA-256 begins so")
    .option("--json", "print one JSON object per line")
    .option("--quiet", "print only the verdict")
    .action(async (run, flags) => (await import("./commands/resume.ts")).resumeRun(run, flags));

  studied(
    program
      .command("compare")
      .description("runs methods on the same data, clients and luck, and puts them into a table as papers have them"),
    "5",
  ).action(async (scenario, flags) => (await import("./commands/study.ts")).compare(scenario, flags));

  studied(
    program
      .command("stress")
      .description("runs a scenario under rising dropout: 0, 20, 40 and 60 % unless told, and under attacks"),
    "3",
  ).action(async (scenario, flags) => (await import("./commands/study.ts")).stress(scenario, flags));

  studied(
    program.command("sweep").description("runs a scenario with other values of its fields, and says what they change"),
    "3",
  ).action(async (scenario, flags) => (await import("./commands/study.ts")).sweep(scenario, flags));

  program
    .command("methods")
    .description(
      "lists the strategies there are: what each adapts, sends and keeps, its tasks and source; or explains one",
    )
    .argument("[name]", "a strategy, a wrapper such as compress, or a scenario file with a strategy of its own")
    .option("--json", "print JSON")
    .action(async (name, flags) => (await import("./commands/methods.ts")).methods(name, flags));

  program
    .command("verify")
    .description("says whether a run is what it claims to be")
    .argument("<run>", "the run's folder")
    .option("--rerun", "run the scenario again, elsewhere, and compare every byte")
    .option("--workers <number>", "worker threads of the second run", positiveNumber)
    .option("--engine <name>", "what trains in the second run (default: what trained in the first)")
    .option("--scenario <file>", "the file of the run's scenario, if it has code of its author's")
    .option("--trust-code <digest>", "execute the code that the run folder names, if its SHA-256 begins so")
    .option("--json", "print one JSON object")
    .action(async (run, flags) => (await import("./commands/verify.ts")).verify(run, flags));

  program
    .command("diff")
    .description("shows the first event and the first metric in which two runs part")
    .argument("<runA>", "a run's folder")
    .argument("<runB>", "another one's")
    .option("--tolerance <share>", "largest relative difference of trained numbers that counts as none", share)
    .option("--json", "print one JSON object")
    .action(async (runA, runB, flags) => (await import("./commands/diff.ts")).diff(runA, runB, flags));

  program
    .command("timeline")
    .description("writes a run's clients as tracks: timeline.json for Perfetto, and the plot in report.html")
    .argument("<run>", "the run's folder")
    .option("--json", "print one JSON object")
    .action(async (run, flags) => (await import("./commands/timeline.ts")).timeline(run, flags));

  program
    .command("calibrate")
    .description("measures training steps of this machine at every budget, for timing-only plans")
    .argument("<scenario>", "the scenario whose model, data and batches are measured")
    .option("--to <file>", "where the calibration goes", "calibration.json")
    .option("--budgets <list>", "as in 8,4,2,1 (default: those the scenario evaluates)", budgetList)
    .option("--repeats <number>", "measurements at each budget; the median counts", positiveNumber, 5)
    .option("--engine <name>", "what trains: auto, onnx, …", "auto")
    .option("--data <file>", "your instructions: .json or .jsonl in Alpaca or Dolly form")
    .option("--model <folder>", "a base model's Hugging Face folder: OLMoE or a relative")
    .option(...base)
    .option("--json", "print the calibration as JSON")
    .action(async (scenario, flags) => (await import("./commands/calibrate.ts")).calibrate(scenario, flags));

  declareModelCommands(program);

  program
    .command("serve")
    .description("plays requests on a device that has fewer slots than the model has experts; nothing is trained")
    .option("--requests <number>", "how many", positiveNumber, 200)
    .option("--tokens <number>", "tokens of each, one after the other", positiveNumber, 16)
    .option("--rate <number>", "requests a second, on average", nonNegative, 5)
    .option("--ahead <tokens>", "tokens of a request whose experts are known: 1 while decoding", positiveNumber, 4)
    .option("--experts <number>", "experts of a layer", positiveNumber, 8)
    .option("--active <number>", "experts of a token, the same in every layer", positiveNumber, 2)
    .option("--slots <number>", "experts of a layer that the device has room for", wholeNumber, 4)
    .option("--layers <number>", "layers", positiveNumber, 32)
    .option("--focus <share>", "probability that a token's first expert is that of its request's domain", share, 0.7)
    .option("--load <ms>", "milliseconds to load an expert of a layer", nonNegative, 0.5)
    .option("--compute <ms>", "milliseconds to compute a token in a layer", nonNegative, 0.2)
    .option("--most <tokens>", "tokens of a batch at most", positiveNumber, 8)
    .option("--patience <batches>", "batches that a request is passed over at most", wholeNumber, 32)
    .option("--no-prefetch", "load experts when their layer begins, not while the one before is computed")
    .option("--seed <number>", "seed of requests and choices", wholeNumber, 1)
    .option("--json", "print one JSON object")
    .action(async (flags) => (await import("./commands/serve.ts")).serveRequests(flags));

  program
    .command("worker")
    .description("trains for runs on other machines, until it is told to stop")
    .requiredOption("--nats <url>", natsUrl)
    .option("--creds <file>", natsCreds)
    .option("--workers <number>", "tasks at a time (default: one per core)", positiveNumber)
    .option("--cache <folder>", "where base weights are kept; machines may share it (default: as for flame run)")
    .option("--memory <megabytes>", "how much of what runs send is kept in memory (default: 2048)", positiveNumber)
    .option(
      "--task-limit <minutes>",
      "after how long a worker that finishes no step is held to be stuck (default: 10)",
      minutesOption,
    )
    .action(async (flags) => (await import("./commands/worker.ts")).serveAsWorker(flags));

  program
    .command("workers")
    .description("lists the workers that are there: what each is, does and has done")
    .requiredOption("--nats <url>", natsUrl)
    .option("--creds <file>", natsCreds)
    .option("--json", "print JSON")
    .action(async (flags) => (await import("./commands/worker.ts")).workers(flags));

  program
    .command("init")
    .description("makes a folder to begin in: a scenario that runs at once, with types for an editor")
    .argument("<folder>", "made if missing, and must be empty")
    .action(async (folder) => (await import("./commands/init.ts")).init(folder));

  program
    .command("list")
    .description("lists the runs of a folder with state, results and age, and the scenarios there are")
    .argument("[folder]", "where the runs are", "runs")
    .option("--json", "print one JSON object")
    .action(async (folder, flags) => (await import("./commands/list.ts")).list(folder, flags));

  program
    .command("help")
    .description("explains a command, or a field of a scenario: flame help scenario rounds")
    .argument("[command]", "a command, or scenario")
    .argument("[field]", "of a scenario, as in world.network")
    .action(async (name, field) => (await import("./commands/help.ts")).help(program, name, field));

  program
    .command("complete")
    .description("prints the script that makes a shell complete flame at the tab key")
    .argument("<words...>", "bash, zsh, fish or powershell")
    .action(async (words) => (await import("./commands/complete.ts")).complete(program, words));

  program
    .command("doctor")
    .description("says which executors and how many cores this machine offers, and why something is missing")
    .option("--json", "print one JSON object")
    .action(async (flags) => (await import("./commands/doctor.ts")).doctor(flags));

  for (const [name, lines] of Object.entries(examples)) {
    const text = lines.map((line) => `  npx flame ${name} ${line}`).join("\n");
    program.commands.find((command) => command.name() === name)!.addHelpText("after", `\nExamples:\n${text}`);
  }
}

const threads =
  "worker threads; the result does not depend on it (default: one per core, on a GPU always one; with --nats also 0)";

const natsUrl = "a NATS server with JetStream, as nats://host:4222; several with commas";
const natsCreds = "credentials for it: a file with a JWT and its NKey, or with an NKey's seed";

/** What whoever has workers elsewhere understands. */
const withNats = (command: Command): Command =>
  command.option("--nats <url>", `workers elsewhere train as well; ${natsUrl}`).option("--creds <file>", natsCreds);

const mixedHardware = [
  "--mixed-hardware",
  "with --nats: workers elsewhere may have any processor; marks what comes of it",
] as const;

/** The matrix, the same for every question. */
const studied = (command: Command, seeds: string): Command =>
  withNats(command)
    .argument("<scenario>", "a .ts, .js or scenario.json file, or a name such as quickstart")
    .option(
      "--strategies, --strategy <list>",
      "flame,fedavg, flame:frequencyExponent=4, or your own by name",
      nameList,
      [],
    )
    .option("--policy <list>", "round policies, as in synchronous,fedbuff:buffer=5", nameList, [])
    .option("--sampler <list>", "who is invited, as in uniform,oort", nameList, [])
    .option("--dropout <list>", "dropout rates of every tier, as in 0,0.1,0.3", dropoutRates, [])
    .option("--attackers <list>", "as in none,sign-flip,scaling:factor=5:share=0.3; a fifth unless given", nameList, [])
    .option(
      "--vary <field=list>",
      "values of a field, as in data.partition.alpha=0.1,1 (repeated: crossed)",
      varied,
      {},
    )
    .option("--sample <number>", "so many of the combinations of --vary; latin:20 for a Latin hypercube", sampleOf)
    .option("--seeds <number or list>", `5 for the seeds 1 to 5, or a list such as 3,7 (default: ${seeds})`, seedList)
    .option("--rounds <number>", "how many rounds a cell has", positiveNumber)
    .option("--workers <number>", "cells at a time; no result depends on it (default: one per core)", positiveNumber)
    .option("--engine <name>", "what trains: auto, onnx, …", "auto")
    .option(...mixedHardware)
    .option(...base)
    .option("--timing-only", "simulate fleet, network and rounds without training")
    .option("--calibration <file>", "what a token costs at each budget, as flame calibrate measured it")
    .option(
      "--target <k:loss>",
      "time until held-out loss at budget k is this low, as in 8:1.5, or mean:1.5",
      targetLoss,
    )
    .option("--against <method>", "the method that others are tested against (default: the first)")
    .option(
      "--plot <x:y>",
      "one column of the tables against another, as in bytes:loss-mean (may be repeated)",
      collect,
      [],
    )
    .option("--keep-runs", "keep the folder of every run, with its report, and not its curves alone")
    .option("--stop-hopeless", "end a cell whose loss is no number, or above the base model's twice in a row")
    .option("--smoke", "the study that the scenario's file brings along, small: does it run?")
    .option("--set <key=value>", "change a field in every cell, as flame run does (may be repeated)", collect, [])
    .option("--out <folder>", "where cells and report go; finished cells found there are kept (default: runs/…-<time>)")
    .option("--json", "print one JSON object per line")
    .option("--quiet", "print only the table");
