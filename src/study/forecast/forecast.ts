/**
 * What a run will take, before it begins. Bytes and virtual time are those of the run played ahead without training; real
 * time and memory are estimates:
 *
 *   seconds = start + Σ over rounds max(Σ steps · step ÷ workers, longest client) + evaluations
 *   memory  = this process now + base weights + the model and the updates of a round + workers · (thread + programs)
 *
 * Memory is what the machine must have. A process's resident pages are more: base weights once for each program that maps them.
 */
import { availableParallelism } from "node:os";
import { max, median, sum } from "simple-statistics";
import { clientId } from "../../base/ids.ts";
import { chooseEngine } from "../../engine/create.ts";
import { engineNameOf } from "../../engine/names.ts";
import type { Forecast } from "../../records/forecast.ts";
import { firstPart } from "../../run/method.ts";
import type { RunOptions } from "../../run/options.ts";
import { memoryPerStep } from "../../run/pools/memory.ts";
import type { Prepared } from "../../run/prepare.ts";
import { mostTogether } from "../../run/workforce.ts";
import type { Scenario } from "../../scenario/define.ts";
import { clientBytes, frozenBytes, frozenMatrices } from "../../tasks/client-memory.ts";
import { hasPlainStep } from "../../tasks/facts.ts";
import { budgetsOf, type Pace, paceOf } from "../estimate.ts";
import { type Played, playAhead } from "./play.ts";
import { roughSeconds, roughStep } from "./rough.ts";
import { warningsOf } from "./warnings.ts";

export interface ForecastOptions extends Pick<RunOptions, "engine" | "merge" | "workers"> {
  /** Times every budget; else one of them, and none where the run is over in about a minute. */
  readonly thorough: boolean;
  /** Real milliseconds for which the run is played ahead; all of it unless given. */
  readonly limit?: number;
}

export async function forecast(scenario: Scenario, prepared: Prepared, options: ForecastOptions): Promise<Forecast> {
  const { engine = "auto", merge = "auto", workers: asked = availableParallelism(), limit } = options;
  const resident = process.memoryUsage().rss;
  const { data } = scenario;
  const { fleet, training } = prepared;
  const played = await playAhead(scenario, prepared, limit);
  const { rows, work, isWhole } = played;
  const last = rows.at(-1)!;
  const closed = rows.filter(({ round }) => round > 0);
  /** By how much more than was played there will be. */
  const rest = isWhole || closed.length === 0 ? 1 : data.rounds.count / closed.length;
  const whole = (value: number): number => Math.round(value * rest);
  const counted = sum([0, ...rows.map((row) => row.counted)]);
  const perRound = closed.length === 0 ? 0 : median(closed.map((row) => row.counted));
  const isGpu = training !== null && chooseEngine(engineNameOf(engine)).gpu;
  const most = mostTogether(prepared, { engine: engineNameOf(engine), merge });
  const { task } = prepared.task;
  const workers =
    training === null ? 1 : isGpu ? 1 : Math.max(1, Math.min(asked, max([1, ...work.map((parts) => parts.length)])));
  const evaluated = 1 + Math.ceil(data.rounds.count / data.evaluateEvery);
  const rough = training === null ? 0 : roughSeconds(prepared, played, rest, evaluated, workers);
  const largest = [Math.max(...budgetsOf(prepared))];
  // Nobody waits for minutes to hear how long it will take.
  const isWorthIt = rough > 60 && roughStep(prepared, largest[0]!) < longestStep;
  const isTimed = prepared.training !== null && hasPlainStep(prepared.task.type) && (options.thorough || isWorthIt);
  const pace = isTimed ? await paceOf(prepared, engine, options.thorough ? undefined : largest) : null;
  return {
    clients: fleet.size,
    rounds: data.rounds.count,
    invited: whole(sum([0, ...rows.map((row) => row.invited)])),
    counted: whole(counted),
    downloadBytes: whole(last.downloadBytes),
    uploadBytes: whole(last.uploadBytes),
    virtualTime: whole(last.closedAt),
    round: closed.length === 0 ? 0 : median(closed.map(({ startedAt, closedAt }) => closedAt - startedAt)),
    tiers: tiersOf(scenario, prepared, played, pace),
    steps: whole(sum([0, ...work.flat().map(({ steps }) => steps)])),
    seconds: training === null ? null : pace === null ? rough : secondsOf(pace, played, rest, workers, evaluated),
    timed: pace !== null,
    memory: Math.round(
      resident +
        memoryOf(prepared, Math.max(1, perRound), { threads: isGpu ? 1 : asked, busy: workers, most, gpu: isGpu }),
    ),
    workers,
    together:
      training === null
        ? []
        : budgetsOf(prepared).map((budget) => ({ budget, clients: most(task.budget.variant(budget)) })),
    whole: isWhole,
    warnings: warningsOf(scenario, prepared, played, {
      isGpu,
      merge,
      workers: options.workers ?? null,
      counted: perRound,
    }),
  };
}

function tiersOf(
  scenario: Scenario,
  prepared: Prepared,
  { partsOf, work }: Played,
  pace: Pace | null,
): Forecast["tiers"] {
  const { fleet } = prepared;
  const chargeOf = firstPart(scenario, prepared);
  return fleet.tierNames.map((tier, at) => {
    const someone = fleet.tier.findIndex((of, client) => of === at && fleet.examples[client]! > 0);
    const charge = someone < 0 ? null : chargeOf(clientId(someone)).charge;
    const parts = partsOf[at]!;
    const trained = work.flat().filter(({ tier }) => tier === at);
    return {
      tier,
      clients: fleet.tier.reduce((size, of) => size + (of === at ? 1 : 0), 0),
      downloadBytes: charge?.download ?? 0,
      uploadBytes: charge?.upload ?? 0,
      part: parts.length === 0 ? null : median([...parts]),
      seconds:
        pace === null || trained.length === 0
          ? null
          : median(trained.map(({ steps, budget }) => steps * pace.step.get(budget)!)) / 1_000,
    };
  });
}

/** Seconds of a step, by formula alone, from which on none is timed unasked. */
const longestStep = 3;

function secondsOf(
  { start, step, evaluation }: Pace,
  { work }: Played,
  rest: number,
  workers: number,
  evaluated: number,
) {
  const rounds = work.map((parts) => {
    const times = parts.map(({ steps, budget }) => steps * step.get(budget)!);
    return Math.max(sum([0, ...times]) / workers, max([0, ...times]));
  });
  return (start + rest * sum([0, ...rounds]) + (evaluated * evaluation) / workers) / 1_000;
}

/** Of a worker thread with its modules, and of what the main thread keeps for a run; as measured. */
const threadBytes = 27e6;
const mainBytes = 80e6;
const untrainedBytes = 25e6;
/** Of a model's size: parameters and a method's sums in float64. An update is read as it came. */
const modelCopies = 3;
/** Further copies of updates that nobody needs any more, until there is so much of it that it is collected. */
const garbageCopies = 9;
const mostGarbage = 128e6;

/** Of a training step's memory, what an evaluation needs. */
const forwardShare = 0.2;
/** Of a program besides what it computes, for each matrix of the base weights: 6 to 8 MB for the 159 of the embedded model. */
const bytesPerMatrix = 40_000;

interface Crew {
  /** As many as are asked for, and as many as have something to do. */
  readonly threads: number;
  readonly busy: number;
  readonly most: ReturnType<typeof mostTogether>;
  readonly gpu: boolean;
}

function memoryOf(
  { task, training, ...prepared }: Prepared,
  counted: number,
  { threads, busy, most, gpu }: Crew,
): number {
  if (training === null) return untrainedBytes;
  const { batchSize: rows, length } = training.setup;
  const [trained, evaluated] = [new Set(prepared.fleet.budget), new Set(prepared.budgets)];
  const graph = bytesPerMatrix * frozenMatrices(training.spec.weights);
  const programs = budgetsOf(prepared).flatMap((budget) => {
    const variant = task.task.budget.variant(budget);
    const together = most(variant);
    const memory = memoryPerStep(training.spec, { gpu, workers: threads });
    const bytes = hasPlainStep(task.type)
      ? clientBytes(task.task, variant, { rows, length, clients: Math.min(2, together) }, memory)
      : task.task.memory(variant, rows * length);
    return [
      ...(trained.has(budget) ? [graph + Math.min(together, Math.ceil(counted / busy)) * bytes] : []),
      ...(evaluated.has(budget) ? [graph + forwardShare * bytes] : []),
    ];
  });
  const { mapped, widened } = frozenBytes(training.spec.weights);
  // Where weights are widened no memory is kept from one program for the next.
  const working = widened > 0 ? widened + Math.max(...programs) : sum(programs);
  const { upload } = task.bytes;
  const main = (modelCopies + counted) * upload + Math.min(mostGarbage, garbageCopies * counted * upload);
  return mainBytes + main + threads * threadBytes + busy * working + mapped;
}
