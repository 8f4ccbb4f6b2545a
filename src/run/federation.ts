/**
 * A whole simulated federation on this thread: kernel, world, actors, and those who keep its books. It can be written
 * down between two events and taken up again; it knows nothing of files, clocks or terminals.
 */
import { client, newClient } from "../../actors/client.ts";
import { evaluator } from "../../actors/evaluator.ts";
import { type FederationEvent, serverRef } from "../../actors/protocol.ts";
import { workSchemas } from "../../actors/recipes.ts";
import { Roster } from "../../actors/roster.ts";
import { server } from "../../actors/server.ts";
import { type Best, type Learning, newServer, type ServerState } from "../../actors/server-state.ts";
import { evaluationShards } from "../../actors/training.ts";
import { invariant } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { parseInput } from "../base/problem.ts";
import { Rng } from "../base/random.ts";
import type { Snapshot } from "../base/snapshot.ts";
import { type Millis, millis, seconds } from "../base/units.ts";
import { factsOf, waitsForAll } from "../fl/policy.ts";
import { forEachLayer, type RouterMasses } from "../fl/rescaler.ts";
import type { Ended } from "../records/participation.ts";
import { ParticipationTracker } from "../records/participation-tracker.ts";
import { RoundRecorder, type RoundRecorderOptions } from "../records/round-recorder.ts";
import { type ActorEvent, registration } from "../runtime/actor.ts";
import { BlobStore } from "../runtime/messages/blobs.ts";
import type { Held } from "../runtime/messages/refs.ts";
import type { Gathering } from "../runtime/pledges.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import { ActorSystem } from "../runtime/system.ts";
import { policyOf, type Scenario, samplerOf } from "../scenario/define.ts";
import { effortOf } from "../scenario/effort.ts";
import type { Condition, Loss, Order } from "../sim/flight/environment.ts";
import { type Stage, stages } from "../sim/flight/stages.ts";
import { Kernel } from "../sim/kernel/kernel.ts";
import { Piece, RowShape, Trace, type TraceSink } from "../sim/kernel/trace.ts";
import { createWorld, type World } from "../sim/world.ts";
import type { TaskPrograms } from "../tasks/programs.ts";
import type { Variant } from "../tasks/task.ts";
import { attackOf } from "./attackers.ts";
import { learningOf, MethodPrograms, methodOf } from "./method.ts";
import type { Prepared } from "./prepare.ts";
import { checkParts, type FederationState, federationSchema } from "./restore.ts";

export type Invited = Extract<FederationEvent, { readonly type: "invited" }>;

export interface FederationOptions extends Pick<RoundRecorderOptions, "onMeasured" | "onRow"> {
  readonly scenario: Scenario;
  readonly prepared: Prepared;
  readonly pool: WorkPool;
  /** Takes the lines of the trace; null keeps only its digest. */
  readonly events: TraceSink | null;
  readonly reproduce: string;
  readonly gathering?: Gathering | null;
  /** What a strategy's own steps are made of; absent where nothing is trained. */
  readonly programs?: TaskPrograms | null;
  /** The run is only played ahead: see `Learning`. */
  readonly isAhead?: boolean;
  /** Of the scenario's seed; made unless given. */
  readonly rng?: Rng;
  /** How many clients of a variant share a call at most; 1 unless given. */
  readonly most?: (variant: Variant) => number;
  onParticipation(ended: Ended): void;
  /** What a client is asked to do. */
  onInvited?(invited: Invited): void;
  /** A round has closed; the present event is not over yet. */
  onRoundClosed(round: number): void;
}

export class Federation implements Snapshot<FederationState> {
  readonly kernel = new Kernel();
  readonly trace: Trace;
  readonly world: World;
  readonly #options: FederationOptions;
  readonly #system: ActorSystem;
  readonly #participations: ParticipationTracker;
  readonly #recorder: RoundRecorder;
  readonly #roster: Roster;
  readonly #learning: Learning | null;
  readonly #noticesLosses: boolean;
  readonly #blobs = new BlobStore();
  readonly #programs = new MethodPrograms(this.#blobs);
  #progress: FederationState["progress"] = { invited: 0, accepted: 0, round: 0, isEnding: false, done: false };
  /** What was found wrong with an event; ends the run. */
  #failure: unknown = null;

  constructor(options: FederationOptions) {
    this.#options = options;
    const { scenario, prepared, pool, events, gathering = null, reproduce, programs = null, most = () => 1 } = options;
    const { isAhead = false, rng = new Rng(scenario.data.seed) } = options;
    const { data } = scenario;
    const { task, fleet, training } = prepared;
    this.trace = new Trace(events === null ? { mode: "digest" } : { mode: "full", sink: events });
    this.world = createWorld({
      kernel: this.kernel,
      rng,
      fleet,
      spec: data.world,
      ...(prepared.traits === null ? {} : { traits: prepared.traits }),
      onTrace: (row) => this.trace.record(row),
      onlooker: {
        arrived: (order, stage, condition) => this.#arrived(order, stage, condition),
        computed: ({ participation }) => this.#participations.passed("training", participation, this.kernel.now),
        lost: (loss) => this.#lose(loss),
      },
    });
    this.#roster = new Roster(fleet.size);
    const policy = policyOf(scenario);
    const { deadline, minUpdates } = factsOf(policy);
    const learning = learningOf(scenario, minUpdates, prepared, rng, () => this.rescalers());
    this.#learning = learning && { ...learning, isAhead };
    this.#noticesLosses = waitsForAll(policy);
    const effort = effortOf(data, { policy, fleet, rng });
    this.#participations = new ParticipationTracker({
      deadline: deadline === null ? null : millis(deadline),
      onEnded: (ended) => this.#onEnded(ended),
    });
    const method = methodOf(scenario, isAhead ? { ...prepared, training: null } : prepared, {
      rng,
      programs,
      held: this.#programs,
      most,
    });
    this.#recorder = new RoundRecorder({
      tiers: fleet.tierNames,
      layers: task.layers,
      read: (shards) => this.#system.readOutside(shards),
      release: (shard) => this.#system.releaseOutside(shard),
      ...given({ onMeasured: options.onMeasured }),
      onRow: options.onRow,
      reproduce,
    });
    const shards = training === null ? [] : evaluationShards(training.setup);
    this.#system = new ActorSystem({
      kernel: this.kernel,
      environment: this.world,
      rng,
      trace: this.trace,
      pool,
      blobs: this.#blobs,
      gathering,
      works: workSchemas,
      reproduce,
      actors: [
        registration(server, {
          hydrate: () => newServer({ ref: "blob", digest: "", bytes: 0 }),
          services: {
            rounds: data.rounds.count,
            policy,
            sampler: samplerOf(scenario),
            fleet,
            roster: this.#roster,
            environment: this.world,
            leastClients: minUpdates,
            minimumGap: data.rounds.minimumGap,
            ...(effort === null ? {} : { effortOf: effort }),
            patience: millis(data.rounds.patience),
            evaluateEvery: data.evaluateEvery,
            downloadBytes: task.bytes.download,
            method,
            learning: this.#learning,
          },
        }),
        registration(client, {
          hydrate: newClient,
          services: {
            keepsRescaler: data.rescaler.scope === "local",
            uploadBytes: task.bytes.upload,
            variantOf: (id) => task.task.budget.variant(fleet.budget[id]!),
            trainingTimeOf: (id) => millis(method.charge(id, null).training),
            attackOf: attackOf(data, fleet, rng),
            programs: method.programs,
          },
        }),
        registration(evaluator, { hydrate: () => null, services: { shards } }),
      ],
    });
    this.#system.observer.on("event", (event, _, at) => this.#observe(event, at));
  }

  /** Of the open round: how it stands. */
  get status() {
    const { round, invited, accepted } = this.#progress;
    return { round, time: this.kernel.now as number, invited, accepted, evaluating: this.#recorder.pending };
  }

  get hasFinished(): boolean {
    return this.#progress.done;
  }

  /** Tokens routed to each expert in counted updates over the whole run. */
  get expertTokens(): readonly (readonly number[])[] {
    return this.#recorder.expertTokens;
  }

  get diagnostics() {
    return this.#system.diagnostics;
  }

  /** The global adapter as it stands; null without training. @throws MachineError when its memory was overwritten */
  get adapter(): Float32Array | null {
    return this.#floats((this.#system.state(serverRef) as ServerState).adapter);
  }

  /** In a run that may end early: how it went, and the best adapter with its rescalers. Null in any other, and before. */
  get course() {
    const { course } = this.#system.state(serverRef) as ServerState;
    const adapter = course?.best ? this.#floats(course.best.adapter) : null;
    return course && { ...course, best: adapter && { ...course.best!, adapter } };
  }

  #floats(adapter: Held): Float32Array | null {
    if (adapter.ref !== "blob" || adapter.digest === "") return null;
    this.#blobs.verify(adapter);
    return this.#blobs.floats(adapter);
  }

  /** The rescaler that goes with the adapter at each budget from K down to 1; empty without training. */
  rescalers(): Best["rescalers"] {
    const learning = this.#learning;
    if (learning === null) return [];
    const { task, layers } = this.#options.prepared.task;
    const most = task.personal === 0 ? 0 : task.budget.full;
    const budgets = Array.from({ length: most }, (_, at) => most - at);
    return budgets.map((topK) => ({ topK, factors: [...forEachLayer(learning.rescalers.forBudget(topK), layers)] }));
  }

  /** @param masses what rescalers start from, where that is measured */
  begin(masses: RouterMasses | null = null): void {
    this.#learning?.rescalers.startFrom(masses, this.#options.prepared.training?.start?.rescalers);
    this.#system.post(serverRef, { type: "begin" });
  }

  /** Lets virtual time pass until the last round has closed or `until` holds; it is asked between any two events. */
  async advance(until: () => boolean): Promise<void> {
    const stops = () => this.#progress.done || this.#failure !== null || this.#recorder.failure !== null || until();
    await this.kernel.run({ until: stops });
    if (this.#failure !== null) throw this.#failure;
    if (this.#recorder.failure !== null) throw this.#recorder.failure;
    invariant(
      this.kernel.pending > 0 || this.#progress.done,
      () => `nothing is left to happen, but round ${this.#progress.round} is not closed`,
    );
  }

  /** Waits for the rows of rounds that have closed. */
  rowsDone(): Promise<void> {
    return this.#recorder.allDone();
  }

  /** Waits for what must be out before a snapshot is taken, so that its bytes do not depend on the machine. */
  rowsUpToDate(): Promise<void> {
    return this.#recorder.upToDate();
  }

  snapshot(): FederationState {
    return {
      kernel: this.kernel.snapshot(),
      trace: this.trace.snapshot(),
      environment: this.world.snapshot(),
      system: this.#system.snapshot(),
      participations: this.#participations.snapshot(),
      rounds: this.#recorder.snapshot(),
      roster: this.#roster.snapshot(),
      programs: this.#programs.snapshot(),
      rescalers: this.#learning?.rescalers.snapshot() ?? null,
      progress: { ...this.#progress },
    };
  }

  /** @throws InputError that names part and field of a state that this scenario's run cannot have */
  restore(given: unknown): void {
    const state = parseInput("its content", federationSchema, given);
    this.kernel.restore(state.kernel);
    this.trace.restore(state.trace);
    this.world.restore(state.environment);
    this.#system.restore(state.system);
    this.#participations.restore(state.participations);
    this.#programs.restore(state.programs);
    this.#roster.restore(state.roster);
    if (state.rescalers !== null) this.#learning?.rescalers.restore(state.rescalers);
    const { prepared, scenario } = this.#options;
    checkParts(state, this.#system.state(serverRef) as ServerState, {
      clients: prepared.fleet.size,
      rounds: scenario.data.rounds.count,
      parameters: this.adapter?.length ?? null,
      expected: this.#learning?.task.layout.size ?? null,
    });
    this.#progress = state.progress;
    this.#system.requireContents(state.rounds, "rounds");
    // Last: it asks the system for evaluations that were going on.
    this.#recorder.restore(state.rounds);
  }

  #onEvent(event: ActorEvent, at: Millis): void {
    const told = event as unknown as FederationEvent;
    switch (told.type) {
      case "round-began":
        this.#progress.round = told.round;
        this.#participations.roundBegan(told.at);
        this.trace.record({ t: at, type: "round-began", round: told.round });
        break;
      case "invited":
        this.#progress.invited++;
        this.#participations.invited(told, at);
        this.#recorder.invited(this.#options.prepared.fleet.tier[told.client]!);
        this.#options.onInvited?.(told);
        break;
      case "accepted":
        this.#progress.accepted++;
        break;
      case "refused":
        this.#participations.refused(told.participation, told.as, told.reason, at);
        break;
      case "gave-up":
        this.#participations.gaveUp(told.participation, at);
        break;
      case "counted":
        this.#participations.counted(told.participation, at);
        break;
      case "round-closed":
        this.#closed(told, at);
        break;
      case "evaluating":
        this.#recorder.evaluating(told);
        // One of an earlier round may begin when the last round is over already.
        this.#progress.done = this.#progress.isEnding && !this.#recorder.awaitsEvaluation;
        break;
    }
  }

  #closed(closed: Extract<FederationEvent, { type: "round-closed" }>, at: Millis): void {
    const { type: _, evaluated, isLast, ...ended } = closed;
    const { round, aggregated, counts } = ended;
    this.trace.record({ t: at, type: "round-closed", round, aggregated, counted: counts.length });
    this.#recorder.closed({ ...ended, closedAt: at }, evaluated);
    Object.assign(this.#progress, { invited: 0, accepted: 0 });
    const { downloadSent, downloadReceived, downloadLost, uploadSent, uploadReceived, uploadLost } = this.world.traffic;
    invariant(
      downloadSent >= downloadReceived + downloadLost && uploadSent >= uploadReceived + uploadLost,
      () => `more bytes arrived or were lost than were sent: ${JSON.stringify(this.world.traffic)}`,
    );
    if (isLast) {
      const { outstanding } = this.#participations;
      invariant(outstanding === 0, () => `${outstanding} participations never ended`);
      // An evaluation that was asked for begins with the next event.
      this.#progress = { ...this.#progress, isEnding: evaluated, done: !evaluated };
    }
    this.#options.onRoundClosed(round);
  }

  #onEnded(ended: Ended): void {
    const { participation, client, outcome, reason, endedAt } = ended;
    const row = this.trace.begin(endedRow, endedAt).number(participation).numbered(clientPrefix, client);
    row.text(outcome).text(reason ?? undefined);
    this.trace.end();
    this.#recorder.ended(this.#options.prepared.fleet.tier[client]!, outcome);
    this.#options.onParticipation(ended);
  }

  #arrived({ client, participation, round }: Order, stage: Stage, condition: Condition): void {
    // A client does not hear what it cannot read, and its part ends there.
    if (condition === "corrupted" && stages[stage].is === "down") {
      this.#lose({ client, participation, round, phase: stage, reason: "corrupted", at: this.kernel.now });
      return;
    }
    this.#participations.passed(stage, participation, this.kernel.now);
    // Also when the server has given up on it: a straggler that has reported has nothing left to do.
    if (stage === "upload" || condition === "corrupted") this.#roster.released(client, participation);
  }

  #lose(loss: Loss): void {
    this.#participations.lost(loss);
    if (loss.phase === "acknowledge") return;
    this.#roster.released(loss.client, loss.participation);
    // A prelude waits for everybody.
    if (this.#noticesLosses || loss.round === 0) {
      this.#system.post(serverRef, { type: "gone", of: loss.participation }, noticeAfter);
    }
  }

  /** The observer swallows what its onlookers throw; here a broken rule has to end the run. */
  #observe(event: ActorEvent, at: Millis): void {
    if (this.#failure !== null) return;
    try {
      this.#onEvent(event, at);
    } catch (error) {
      this.#failure = error;
    }
  }
}

const clientPrefix = new Piece('"c-');
const endedRow = new RowShape("ended", "participation", "client", "outcome", "reason");

/**
 * How long it takes until a broken connection shows at the server. Some time has to pass, or a server that at once
 * invites a client that at once is lost again would keep virtual time from passing at all.
 */
const noticeAfter = seconds(1);
