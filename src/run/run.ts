/**
 * Runs a scenario from its first event, or from a checkpoint, to its last, and leaves the run folder. This file reads
 * the wall clock, to measure the simulator; nothing simulated depends on it.
 */

import { availableParallelism } from "node:os";
import { setImmediate as macrotask } from "node:timers/promises";
import { buggify } from "../base/buggify.ts";
import { writeAtomically } from "../base/disk.ts";
import { MachineError, messageOf, ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { throwProblems } from "../base/problem.ts";
import { Rng } from "../base/random.ts";
import { chooseEngine, requireBase, requireEngine } from "../engine/create.ts";
import { engineNameOf } from "../engine/names.ts";
import { whileHeld } from "../folder/held.ts";
import { awaitLock, type Lock } from "../folder/lock.ts";
import { flawOfFiles, noFiles, openRunFiles } from "../folder/run-files.ts";
import {
  createRunFolder,
  defaultCommand,
  defaultFolder,
  type RunFolder,
  type RunRecord,
  writeRecord,
} from "../folder/run-folder.ts";
import { type Checkpoint, writeCheckpoint } from "../folder/saved-state.ts";
import { divergenceOf, metricsOf } from "../records/metrics.ts";
import { rowOf } from "../records/participation.ts";
import { reasonOf, stopProblems } from "../records/stopping.ts";
import { type Scenario, scenarioToJson, strategyOf, unusedFields } from "../scenario/define.ts";
import { checkQuorum } from "../scenario/quorum.ts";
import { neverCame } from "../sim/script/timeline.ts";
import { type Diagnostics, openDiagnostics, watchWorkers } from "./diagnostics.ts";
import { Federation } from "./federation.ts";
import { guardScenario } from "./guard.ts";
import { strategyProblems } from "./method.ts";
import { type RunOptions, refuseUnknown } from "./options.ts";
import { writeLearned, writeResult } from "./outputs.ts";
import { embeddedModel } from "./package.ts";
import type { OpenElsewhere } from "./pools/elsewhere.ts";
import { type Prepared, prepare, withoutData } from "./prepare.ts";
import { provenanceOf, recordOf } from "./provenance.ts";
import { checkReach } from "./reach.ts";
import { blamed, restore } from "./restore.ts";
import { type RunResult, resultOf } from "./result.ts";
import { breathing, haltable, stoppedInTime } from "./stop.ts";
import {
  gatheringOf,
  makePool,
  massesOf,
  mostTogether,
  peakOf,
  programsOf,
  reach,
  requireMemory,
  tooLarge,
} from "./workforce.ts";

/** Where a run goes on. */
interface Continuation {
  readonly folder: RunFolder;
  readonly checkpoint: Checkpoint | null;
  readonly despite: readonly string[];
}

export async function run(given: Scenario, options: RunOptions = {}): Promise<RunResult> {
  refuseUnknown(options);
  const scenario = guardScenario(given);
  const { data } = scenario;
  const diagnostics = openDiagnostics(null);
  const prepared = await prepareRun(scenario, options);
  if (options.force !== true) requireMemory(prepared, options);
  const out = options.out === undefined ? defaultFolder(data.name, data.seed, new Date()) : options.out;
  const { elsewhere, close } = await reach(prepared, options);
  try {
    const play = { scenario, prepared, options, elsewhere, from: null };
    if (out === null) return await playRun({ ...play, diagnostics, folder: null, lock: null });
    const folder = createRunFolder(out);
    const lock = await awaitLock(folder.lock, (text) => options.listen?.({ type: "note", text }));
    return await whileHeld(folder, lock, async () => {
      // Another process may have been faster to the lock.
      createRunFolder(out);
      writeRecord(folder, recordOf("running", provenanceOf(scenario, options, prepared), options, []));
      // With this file in it, the folder is a run.
      writeAtomically(folder.scenario, scenarioToJson(scenario));
      return playRun({ ...play, diagnostics: openDiagnostics(folder.diagnostics), folder, lock });
    });
  } finally {
    await close();
  }
}

/** Checks that the engine trains here, builds the fleet, reads the data, converts the base model. */
export async function prepareRun(
  scenario: Scenario,
  options: Pick<RunOptions, "engine" | "startedIn" | "workers" | "nats" | "listen">,
): Promise<Prepared> {
  const { engine = "auto", workers, nats, startedIn, listen } = options;
  const { name, base, timingOnly, stop } = scenario.data;
  if (timingOnly) engineNameOf(engine);
  else requireBase(base, requireEngine(engine));
  if (workers === 0 && nats === undefined) throw new ScenarioError("workers is 0, expected at least 1");
  const [embedded, problems] = [embeddedModel(), checkQuorum(scenario)];
  const say = listen && ((text: string) => listen({ type: "note", text }));
  const prepared = await prepare(scenario, { ...given({ startedIn, say }), embedded, problems });
  throwProblems(name, [
    ...stopProblems(stop, prepared.task.type, prepared.training && prepared.budgets),
    ...strategyProblems(scenario, prepared),
    ...checkReach(scenario, prepared),
  ]);
  return { ...prepared, notes: [...prepared.notes, ...withoutData(prepared), ...unusedFields(scenario)] };
}

interface PlayedRun {
  readonly scenario: Scenario;
  readonly prepared: Prepared;
  readonly options: RunOptions;
  readonly diagnostics: Diagnostics;
  readonly folder: RunFolder | null;
  readonly lock: Lock | null;
  readonly from: Continuation | null;
  readonly elsewhere: OpenElsewhere | null;
}

/** The run itself, from its beginning or from a checkpoint. */
export async function playRun({
  scenario,
  prepared,
  options,
  diagnostics,
  folder,
  lock,
  from,
  elsewhere,
}: PlayedRun): Promise<RunResult> {
  const { data } = scenario;
  const { listen = () => {}, signal, reproduce = defaultCommand } = options;
  const checkpoint = from?.checkpoint ?? null;
  const engine = engineNameOf(options.engine ?? "auto");
  const files = folder === null ? noFiles() : openRunFiles(folder, checkpoint?.files);
  const workers = options.workers ?? availableParallelism();
  const { merge = "auto", taskLimit, mixedHardware = false } = options;
  const equipment = { engine, merge, ...given({ taskLimit }) };
  const note = (topic: string, text: string) => {
    diagnostics.note(topic, text);
    if (topic === "workers") listen({ type: "note", text });
  };
  const make = () =>
    elsewhere === null
      ? makePool(prepared, workers, equipment)
      : elsewhere(workers, equipment, { title: data.name, mixedHardware, note });
  const pool = haltable(options.pool?.(prepared) ?? (await make()));
  const noteWorkers = watchWorkers(pool, diagnostics);
  const made = provenanceOf(scenario, options, prepared);
  let counted = 0;
  const before = files.rounds();
  let hasDiverged = divergenceOf(before) !== null;
  // What the first evaluation found is what later ones are measured by.
  let base = before.find(({ evaluations }) => evaluations.length > 0);
  let closed = checkpoint?.round ?? -1;
  let written = closed;
  let isOver = false;
  let savedAt = 0;
  let saving = 0;
  const most = mostTogether(prepared, equipment);
  const gathering = gatheringOf(prepared, equipment, most, (problem) => {
    diagnostics.note("memory", problem);
    listen({ type: "note", text: problem });
  });
  const books = options.bookkeeper?.(prepared);
  const rng = new Rng(data.seed);
  const federation = new Federation({
    rng,
    scenario,
    prepared,
    pool,
    events: data.trace === "full" ? files.events : null,
    reproduce,
    gathering,
    programs: programsOf(prepared, equipment, workers),
    most,
    onParticipation(ended) {
      files.participation(rowOf(ended, prepared.fleet));
      books?.ended(ended);
    },
    onInvited: (invited) => books?.invited(invited),
    onRow(closed) {
      // An event that was not waited for may still come to its end.
      if (!isOver) files.round(metricsOf(closed, prepared.fleet));
    },
    onMeasured(closed) {
      if (isOver) return;
      const row = metricsOf(closed, prepared.fleet);
      counted += row.counted;
      const seconds = diagnostics.elapsed();
      const rate = counted / seconds;
      const done = row.round - (checkpoint?.round ?? 0);
      const remaining = done > 0 ? (seconds / done) * (data.rounds.count - row.round) : null;
      diagnostics.note("round", `${row.round} ${row.counted}/${row.invited} counted, ${rate.toFixed(2)} updates/s`);
      listen({ type: "round", row, seconds, rate, remaining });
      if (base === undefined && row.evaluations.length > 0) base = row;
      const divergence = hasDiverged ? null : divergenceOf(base === undefined ? [] : [base, row]);
      if (divergence === null) return;
      hasDiverged = true;
      listen({ type: "note", text: `the model has diverged: after round ${divergence.round} ${divergence.found}` });
    },
    onRoundClosed: (round) => {
      closed = round;
      noteWorkers(round);
      if (from === null) diagnostics.note("draws", JSON.stringify({ round, draws: rng.drawn() }));
    },
  });
  const save = () => {
    if (folder === null) return;
    lock?.check();
    const begun = performance.now();
    const round = Math.max(0, closed);
    // The snapshot first: it makes the trace hand over its lines.
    const parts = federation.snapshot();
    const state = { made, round, events: federation.kernel.processed, files: files.sync(), parts };
    const bytes = writeCheckpoint(folder.checkpoints, state, data.checkpoints.keep);
    written = closed;
    savedAt = performance.now();
    saving = savedAt - begun;
    diagnostics.count("checkpoints");
    diagnostics.count("checkpoint bytes", bytes);
    diagnostics.count("checkpoint seconds", saving / 1_000);
  };
  /** Without training a round may take less time than to write it down; then a fiftieth of the time has to do. */
  const isDue = () => {
    if (folder === null) return false;
    if (buggify("file: a checkpoint in the middle of a round")) return true;
    if (closed <= written) return false;
    const { every } = data.checkpoints;
    if (every !== undefined) return closed % every === 0;
    return !data.timingOnly || performance.now() - savedAt >= 50 * saving;
  };
  const record = (state: RunRecord["state"]) => {
    if (folder !== null)
      writeRecord(folder, {
        ...recordOf(state, made, options, from?.despite ?? []),
        ...(state !== "running" && { seconds: diagnostics.elapsed() }),
      });
  };
  const statusNow = () => {
    const { steps = null, summary = null } = pool.diagnostics;
    const workers = elsewhere === null ? null : pool.workers;
    return { ...federation.status, workers, elsewhere: summary, steps };
  };
  const ticker = setInterval(() => listen({ type: "status", ...statusNow() }), 200);
  ticker.unref();
  try {
    record("running");
    listen({
      type: "began",
      name: data.name,
      question: data.question ?? null,
      seed: data.seed,
      folder: folder?.path ?? null,
      clients: prepared.fleet.size,
      rounds: data.rounds.count,
      task: prepared.task.type,
      budgets: prepared.budgets,
      strategy: strategyOf(scenario).name,
      engine: made.engine,
      workers: pool.workers,
      resumedAfter: checkpoint?.round ?? null,
    });
    const why = made.engine === null ? [] : [chooseEngine(engine).reason];
    if (gathering !== null) why.push(`clients share calls: ${made.merge}`);
    const large = tooLarge(prepared, equipment, workers);
    for (const text of large) diagnostics.note("memory", text);
    why.push(...large);
    for (const text of [...why, ...prepared.notes, ...(from?.despite ?? [])]) listen({ type: "note", text });
    if (from === null && options.forecast) listen({ type: "forecast", ...(await options.forecast(prepared)) });
    if (checkpoint === null) federation.begin(await massesOf(scenario, prepared, engine));
    else restore(federation, checkpoint);
    const needsBreath = breathing();
    const isStopped = await stoppedInTime(signal, async () => {
      let isAsked = false;
      while (!isAsked && !federation.hasFinished) {
        let isTime = false;
        await federation.advance(() => {
          isTime = isDue();
          isAsked = signal?.aborted === true;
          return isTime || isAsked || needsBreath();
        });
        if (isTime || isAsked) await federation.rowsUpToDate();
        if (isTime) save();
        await macrotask();
      }
    });
    if (federation.hasFinished) {
      await federation.rowsDone();
      const why = data.stop && federation.course && reasonOf(federation.course.standing, data.stop);
      if (why) listen({ type: "note", text: `the run ends after round ${closed}: ${why}` });
    } else if (isStopped) save();
    else {
      isOver = true;
      listen({ type: "note", text: "the work under way takes too long to wait for: the last checkpoint stands" });
    }
    const state = federation.hasFinished ? "finished" : "interrupted";
    federation.trace.flush();
    // A run that says that it has finished is never resumed.
    const marks = files.sync();
    files.close();
    if (state === "finished") {
      for (const text of neverCame(data.world.timeline, federation.kernel.now)) listen({ type: "note", text });
    }
    const leaves = state === "finished" ? folder : null;
    const flaw = leaves && flawOfFiles(leaves, marks);
    if (flaw) throw new MachineError(`${flaw}: the disk is damaged, or somebody else writes there`);
    if (leaves !== null) await writeLearned(leaves, { scenario, prepared, federation, engine });
    const rows = files.rounds();
    const result = resultOf(scenario, prepared, federation, { state, folder, closed, rows, diagnostics, pool });
    if (leaves !== null) writeResult(leaves, result, { made, continuedDespite: from?.despite ?? [] });
    record(state);
    const { summary, completed } = pool.diagnostics;
    const rate = (completed / diagnostics.elapsed()).toFixed(1);
    if (summary !== undefined) note("workers", `${summary}; ${rate} a second`);
    listen({ type: "ended", result });
    return result;
  } catch (error) {
    diagnostics.note("failure", error instanceof Error ? (error.stack ?? error.message) : messageOf(error));
    try {
      // Whatever has been decided so far stays readable.
      files.close();
    } catch {
      // The error that is being reported matters more; a disk that is full keeps what it has.
    }
    throw checkpoint === null ? error : blamed(error, checkpoint);
  } finally {
    clearInterval(ticker);
    pool.halt();
    for (const problem of pool.diagnostics.problems) diagnostics.note("worker", problem);
    for (const problem of federation.diagnostics.onlookers) diagnostics.note("onlooker", problem);
    diagnostics.count("tasks", pool.diagnostics.completed);
    for (const [work, time] of Object.entries(pool.diagnostics.busy ?? {}))
      diagnostics.count(`seconds of ${work}`, time);
    diagnostics.count("retries", pool.diagnostics.retries);
    diagnostics.count("events", federation.kernel.processed);
    const { user, system } = process.cpuUsage();
    diagnostics.count("cpu seconds", (user + system) / 1e6);
    if (folder !== null) diagnostics.count("peak memory bytes", peakOf(prepared, pool.workers));
    diagnostics.close();
    await pool.close();
  }
}
