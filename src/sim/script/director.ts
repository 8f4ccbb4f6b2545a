/**
 * Carries out the timeline: begins and ends effects, and runs hooks.
 *
 * A timeline that repeats for ever must not keep a finished run alive, so an entry comes again only while anything else
 * is still going to happen.
 */
import * as z from "zod";
import { InputError, InvariantError, messageOf, ScenarioError } from "../../base/errors.ts";
import { whole, wholeAs } from "../../base/fields.ts";
import { inWords, problemsOf } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import { after, formatTime, type Millis } from "../../base/units.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { TraceRow } from "../kernel/trace.ts";
import type { Conditions, LastingEffect } from "./conditions.ts";
import { checkTarget, type PlainEffect, plainEffectSchema, type SimulatedWorld } from "./effects.ts";
import { effectOf, firstTime, type TimelineEntry, timeAfter } from "./timeline.ts";

export interface Stage {
  readonly kernel: Kernel;
  readonly rng: Rng;
  readonly conditions: Conditions;
  readonly timeline: readonly TimelineEntry[];
  readonly trace: (row: TraceRow) => void;
  /** Lets what is under way feel an effect that has just begun or ended. */
  react(effect: PlainEffect, change: "begins" | "ends"): void;
  /** What a hook sees, apart from `inject` and `draws`. */
  view(): Omit<SimulatedWorld, "inject" | "draws" | "now">;
}

interface Cue {
  readonly entry: number;
  readonly occurrence: number;
}

export const directorSchema = z.strictObject({ pending: whole });
type DirectorState = Readonly<z.output<typeof directorSchema>>;

export class Director {
  readonly #stage: Stage;
  /** Own events in the kernel's queue. */
  #pending = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
    const { kernel, timeline } = stage;
    const cue = z.strictObject({ entry: wholeAs<number>(timeline.length - 1), occurrence: whole });
    kernel.on<Cue>("timeline", (cue) => this.#perform(cue), cue);
    kernel.on<number>("effect ends", (id) => this.#end(id), whole);
    for (const [entry, item] of timeline.entries())
      this.#schedule(firstTime(item), "timeline", { entry, occurrence: 0 });
  }

  /** Begins an effect now. */
  begin(effect: PlainEffect): void {
    const { kernel, conditions, trace } = this.#stage;
    trace({ t: kernel.now, type: "effect", effect: effect.type, ...detailOf(effect) });
    if (effect.type !== "crash") {
      const { duration } = effect;
      const endsAt = duration === undefined ? Infinity : after(kernel.now, duration);
      const id = conditions.begin(effect, endsAt);
      if (endsAt < Infinity) this.#schedule(endsAt as Millis, "effect ends", id);
    }
    this.#stage.react(effect, "begins");
  }

  snapshot(): DirectorState {
    return { pending: this.#pending };
  }

  /** Once kernel and conditions are. @throws InputError for an effect that ends and is not active */
  restore({ pending }: DirectorState): void {
    const { kernel, conditions } = this.#stage;
    const ends = kernel.scheduled("effect ends").map(({ data }) => data);
    const scheduled = ends.length + kernel.scheduled("timeline").length;
    if (pending !== scheduled)
      throw new InputError(`director.pending is ${pending}, but ${scheduled} events are scheduled`);
    const bounded = conditions.bounded();
    if (ends.length !== bounded.size || !ends.every((id) => bounded.has(id as number))) {
      throw new InputError(
        `director: effects ${ends.join(", ")} end, but those that last until then are ${[...bounded].join(", ")}`,
      );
    }
    this.#pending = pending;
  }

  #schedule(time: Millis, kind: string, data: Cue | number): void {
    this.#stage.kernel.schedule(time, kind, data);
    this.#pending++;
  }

  #perform({ entry, occurrence }: Cue): void {
    this.#pending--;
    const { kernel, timeline } = this.#stage;
    const item = timeline[entry];
    if (item === undefined)
      throw new InvariantError(`timeline entry ${entry} does not exist; it has ${timeline.length}`);
    const again = timeAfter(item, kernel.now);
    if (again !== null && kernel.pending > this.#pending) {
      this.#schedule(again, "timeline", { entry, occurrence: occurrence + 1 });
    }
    const effect = effectOf(item);
    if (effect.type === "hook") this.#run(effect.run, { entry, occurrence });
    else this.begin(effect);
  }

  #run(run: (sim: SimulatedWorld) => void, { entry, occurrence }: Cue): void {
    const { kernel, rng, trace } = this.#stage;
    const injected: PlainEffect[] = [];
    const where = `world.timeline[${entry}].effect.run`;
    const view = this.#stage.view();
    let isOver = false;
    trace({ t: kernel.now, type: "hook", entry });
    const sim: SimulatedWorld = {
      ...view,
      now: kernel.now,
      draws: rng.at(`hook ${entry}`, occurrence).at(0),
      isAvailable(client) {
        if (Number.isInteger(client) && client >= 0 && client < view.fleet.size) return view.isAvailable(client);
        throw new ScenarioError(`${where} asks for client ${client}, expected one in [0, ${view.fleet.size})`);
      },
      inject(effect) {
        if (isOver) throw new ScenarioError(`${where} injects an effect after it has returned; expected that before`);
        const malformed = problemsOf(plainEffectSchema, effect, "effect");
        const problems = malformed.length > 0 ? malformed : checkTarget("effect", effect, view.fleet);
        if (problems.length > 0) {
          const list = problems.map((problem) => inWords("effect", problem)).join("; ");
          throw new ScenarioError(`${where} injects what cannot be: ${list}`);
        }
        injected.push(effect);
      },
    };
    try {
      run(sim);
    } catch (cause) {
      if (cause instanceof ScenarioError) throw cause;
      throw new ScenarioError(`${where} failed at ${formatTime(kernel.now)}: ${messageOf(cause)}`, { cause });
    }
    isOver = true;
    for (const effect of injected) this.begin(effect);
  }

  #end(id: number): void {
    this.#pending--;
    const { kernel, conditions, trace } = this.#stage;
    const effect: LastingEffect | undefined = conditions.end(id);
    if (effect === undefined) throw new InvariantError(`effect ${id} ended twice`);
    trace({ t: kernel.now, type: "effect-ended", effect: effect.type, ...detailOf(effect) });
    this.#stage.react(effect, "ends");
  }
}

function detailOf(effect: PlainEffect): Record<string, string | number> {
  const detail: Record<string, string | number> = {};
  if ("target" in effect) {
    detail.target = typeof effect.target === "string" ? effect.target : `${effect.target.clients.length} clients`;
  }
  if ("factor" in effect) detail.factor = effect.factor;
  if ("probability" in effect) detail.probability = effect.probability;
  return detail;
}
