/**
 * Availability by chance: independent slots, and on/off processes in continuous time.
 */
import * as z from "zod";
import { duration, openShare, probability, shift } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Fleet, FleetNames } from "../fleet/fleet.ts";

const day = 86_400_000;

export const timeZonesSchema = z.union([
  z.strictObject({
    byRegion: z
      .record(z.string(), shift)
      .describe("milliseconds by which each region's clock is ahead of the simulation's; regions not named: 0"),
  }),
  z.strictObject({ spread: shift.describe("each client's clock is ahead by a uniform time up to these milliseconds") }),
]);

export type TimeZones = Readonly<z.output<typeof timeZonesSchema>>;

const swing = "a number in [0, 1]";
/** The share of eligible clients over the local day: 1 + amplitude · cos(2π (t − peakAt) ÷ 24 h), times its mean. */
const diurnalFields = {
  amplitude: z
    .number()
    .min(0, swing)
    .max(1, swing)
    .describe(
      "how far the share swings to both sides of its mean. A peak-to-trough ratio r gives (r − 1) ÷ (r + 1), so 0.6 for the 4 : 1 of Google's fleet (Bonawitz et al., 2019)",
    ),
  peakAt: shift.describe("local time of day of the peak, in milliseconds from midnight"),
  timeZones: timeZonesSchema.exactOptional().describe("how clocks of clients differ; not at all unless given"),
};
const waveSchema = z.strictObject(diurnalFields);

type Wave = Readonly<z.output<typeof waveSchema>>;

/** Why the mean `share` and the wave do not go together; null if they do. */
const tooHigh = (share: number, { amplitude }: Wave): string | null =>
  share * (1 + amplitude) <= 1 ? null : `at most 1 ÷ share − 1, so that the peak is a share: share is ${share}`;

export const diurnalSchema = z
  .strictObject({
    type: z.literal("diurnal"),
    share: probability.describe("share of clients that are eligible, its mean over the day"),
    slot: duration.describe("milliseconds after which chance decides anew"),
    ...diurnalFields,
  })
  .describe("each slot of time a client is eligible with the share of its local time of day")
  .superRefine((spec, ctx) => {
    const message = tooHigh(spec.share, spec);
    if (message !== null) ctx.addIssue({ code: "custom", path: ["amplitude"], message });
  });

/** A continuous-time Gilbert-Elliott process. */
export const twoStateSchema = z
  .strictObject({
    type: z.literal("two-state"),
    onShare: openShare.describe("stationary share of time on, π. With `diurnal`, its mean over the day"),
    meanOn: duration.describe("mean length of a stretch on, in milliseconds"),
    diurnal: waveSchema
      .exactOptional()
      .describe("how the share goes up and down with the time of day; unless given, it does not"),
  })
  .describe("exponential stretches on and off")
  .superRefine(({ onShare, meanOn, diurnal }, ctx) => {
    if (diurnal === undefined) return;
    const { amplitude } = waveBefore(diurnal, meanOn * (1 - onShare));
    const canFollow = amplitude <= 1 && onShare * (1 + amplitude) <= 1;
    const message =
      tooHigh(onShare, diurnal) ??
      (canFollow ? null : "a swing that stretches this long can follow: shorten meanOn or lower the amplitude");
    if (message !== null) ctx.addIssue({ code: "custom", path: ["diurnal", "amplitude"], message });
  });

export type TwoStateSpec = Readonly<z.output<typeof twoStateSchema>>;

/** Relative to the mean, at local time `time`. */
export const dailyShare = ({ amplitude, peakAt }: Wave, time: number): number =>
  1 + amplitude * Math.cos((2 * Math.PI * (time - peakAt)) / day);

/** A function that says how far ahead a client's clock is. */
export function localShift(zones: TimeZones | undefined, fleet: Fleet, rng: Rng): (client: ClientId) => number {
  if (zones === undefined) return () => 0;
  if ("spread" in zones) {
    const lane = rng.at("time zone");
    return (client) => lane.at(client).uniform() * zones.spread;
  }
  const shifts = fleet.regionNames.map((name) => zones.byRegion[name] ?? 0);
  return (client) => shifts[fleet.region[client]!]!;
}

/** Slots and cells searched for a change before it is said never to come. */
export const horizon = 20_000;

/** A stretch of this many slots is worth remembering. */
const longStretch = 8;

/** Time in slots; in each, a client is eligible with a probability of its own. */
export class Slotted {
  readonly #probability: (client: ClientId, slot: number) => number;
  readonly #slot: number;
  readonly #rng: Rng;
  readonly #purpose: string;
  /** Slots in which a client was found to be on, or off: a share near 1 makes them thousands, asked for again and again. */
  readonly #on: Stretches;
  readonly #off: Stretches;

  constructor(
    probability: (client: ClientId, slot: number) => number,
    { slot, fleet, rng, purpose }: { slot: number; fleet: Fleet; rng: Rng; purpose: string },
  ) {
    this.#probability = probability;
    this.#slot = slot;
    this.#rng = rng;
    this.#purpose = purpose;
    this.#on = new Stretches(fleet.size);
    this.#off = new Stretches(fleet.size);
  }

  isOn(client: ClientId, time: number): boolean {
    return this.#isOnIn(Math.floor(time / this.#slot), client);
  }

  onUntil(client: ClientId, time: number, atMost = Infinity): number {
    return this.#search(client, time, { wanted: false, atMost, known: this.#on });
  }

  onFrom(client: ClientId, time: number, atMost = Infinity): number {
    return this.#search(client, time, { wanted: true, atMost, known: this.#off });
  }

  #search(
    client: ClientId,
    time: number,
    { wanted, atMost, known }: { wanted: boolean; atMost: number; known: Stretches },
  ): number {
    const first = Math.floor(time / this.#slot);
    const last = Math.min(first + horizon, Math.ceil(atMost / this.#slot));
    let slot = known.covers(client, first) ? known.end(client) : first;
    while (slot < last && this.#isOnIn(slot, client) !== wanted) slot++;
    if (slot - first >= longStretch) known.put(client, first, slot);
    if (slot < last) return slot === first ? time : slot * this.#slot;
    return last < first + horizon ? atMost : Infinity;
  }

  #isOnIn(slot: number, client: ClientId): boolean {
    const probability = this.#probability(client, slot);
    if (probability >= 1) return true;
    return probability > 0 && this.#rng.at(this.#purpose, slot).at(client).bernoulli(probability);
  }
}

/**
 * The two-state process by resampling: at the points of a Poisson process with rate λ the state is drawn anew, on with
 * probability π. Off comes at rate λ(1 − π) = 1 ÷ meanOn and on at rate λπ, which is the process wanted; and since
 * points in different cells of time are independent, any instant can be looked up without those before it.
 *
 * With a diurnal share the state is drawn from π(t). The process lags behind π by 1/λ and flattens it, so a larger and
 * earlier wave is put in that the wanted one comes out. Where a state is rare, `availability-rare.ts` takes over.
 */
export class TwoState {
  readonly #rng: Rng;
  readonly #purpose: string;
  /** Length of a cell of time, 1/λ. */
  readonly #cell: number;
  readonly #share: (client: ClientId, time: number) => number;
  /** Points of the cell looked at last: their times, ascending, and the draws of their states. */
  readonly #points: { time: number; draw: number }[] = [];
  #count = 0;
  #lookedAt = -1;
  #lookedIn = -1;
  /** Stretches found by looking ahead, so that a server that waits for clients does not look for them again and again. */
  readonly #on: Stretches;
  readonly #off: Stretches;

  constructor(spec: TwoStateSpec, fleet: Fleet, rng: Rng, purpose: string) {
    this.#rng = rng;
    this.#purpose = purpose;
    const { lag, share } = shareOfTwoStates(spec, fleet, rng);
    this.#cell = lag;
    this.#share = share;
    this.#on = new Stretches(fleet.size);
    this.#off = new Stretches(fleet.size);
  }

  isOn(client: ClientId, time: number): boolean {
    if (this.#on.covers(client, time)) return true;
    if (this.#off.covers(client, time)) return false;
    for (let cell = Math.floor(time / this.#cell); cell >= 0; cell--) {
      this.#look(client, cell);
      for (let i = this.#count - 1; i >= 0; i--) {
        if (this.#points[i]!.time <= time) return this.#isOnAt(client, i);
      }
    }
    return this.#rng.at(`${this.#purpose} at first`).at(client).bernoulli(this.#share(client, 0));
  }

  onUntil(client: ClientId, time: number, atMost = Infinity): number {
    return this.#search(client, time, false, atMost);
  }

  onFrom(client: ClientId, time: number, atMost = Infinity): number {
    return this.#search(client, time, true, atMost);
  }

  #search(client: ClientId, time: number, wanted: boolean, atMost: number): number {
    if (this.isOn(client, time) === wanted) return time;
    const stretches = wanted ? this.#off : this.#on;
    if (stretches.covers(client, time)) return stretches.end(client);
    const point = this.#nextPoint(client, time, wanted, atMost);
    if (point < atMost || atMost === Infinity) stretches.put(client, time, point);
    return point;
  }

  /** First point after `time` at which the client is, or is not, on. */
  #nextPoint(client: ClientId, time: number, wanted: boolean, atMost: number): number {
    const first = Math.floor(time / this.#cell);
    for (let cell = first; cell < first + horizon; cell++) {
      if (cell * this.#cell >= atMost) return atMost;
      this.#look(client, cell);
      for (let i = 0; i < this.#count; i++) {
        if (this.#points[i]!.time > time && this.#isOnAt(client, i) === wanted) return this.#points[i]!.time;
      }
    }
    return Infinity;
  }

  #isOnAt(client: ClientId, point: number): boolean {
    const { time, draw } = this.#points[point]!;
    return draw < this.#share(client, time);
  }

  #look(client: ClientId, cell: number): void {
    if (client === this.#lookedAt && cell === this.#lookedIn) return;
    this.#lookedAt = client;
    this.#lookedIn = cell;
    const draws = this.#rng.at(this.#purpose, cell).at(client);
    const count = draws.poisson(1);
    while (this.#points.length < count) this.#points.push({ time: 0, draw: 0 });
    // Insertion in order of time: a cell has one point on average.
    for (let i = 0; i < count; i++) {
      const time = (cell + draws.uniform()) * this.#cell;
      const draw = draws.uniform();
      let place = i;
      while (place > 0 && this.#points[place - 1]!.time > time) {
        this.#points[place]!.time = this.#points[place - 1]!.time;
        this.#points[place]!.draw = this.#points[place - 1]!.draw;
        place--;
      }
      this.#points[place]!.time = time;
      this.#points[place]!.draw = draw;
    }
    this.#count = count;
  }
}

/** A stretch for each client, from the first instant or slot to before the second. */
class Stretches {
  readonly #size: number;
  /** Two numbers for each client; null until there is a stretch. */
  #bounds: Float64Array | null = null;

  constructor(size: number) {
    this.#size = size;
  }

  covers(client: ClientId, time: number): boolean {
    const bounds = this.#bounds;
    return bounds !== null && bounds[2 * client]! <= time && time < bounds[2 * client + 1]!;
  }

  put(client: ClientId, from: number, until: number): void {
    this.#bounds ??= new Float64Array(2 * this.#size);
    this.#bounds[2 * client] = from;
    this.#bounds[2 * client + 1] = until;
  }

  end(client: ClientId): number {
    return this.#bounds![2 * client + 1]!;
  }
}

/** 1/λ in milliseconds, π(t) of each client, and how far it swings around its mean. */
export function shareOfTwoStates(
  { onShare, meanOn, diurnal }: TwoStateSpec,
  fleet: Fleet,
  rng: Rng,
): { readonly lag: number; readonly swing: number; share(client: ClientId, time: number): number } {
  const lag = meanOn * (1 - onShare);
  if (diurnal === undefined) return { lag, swing: 0, share: () => onShare };
  const wave = waveBefore(diurnal, lag);
  const shift = localShift(diurnal.timeZones, fleet, rng);
  return {
    lag,
    swing: wave.amplitude,
    share: (client, time) => onShare * dailyShare(wave, time + shift(client)),
  };
}

/** The wave that a lag of `lag` turns into the wanted one. */
function waveBefore(spec: Wave, lag: number): Wave {
  const turn = ((2 * Math.PI) / day) * lag;
  return {
    ...spec,
    amplitude: spec.amplitude * Math.sqrt(1 + turn * turn),
    peakAt: (spec.peakAt - (Math.atan(turn) * day) / (2 * Math.PI)) as Millis,
  };
}

/** Regions of the time zones that the fleet does not have. */
export function checkZones(path: string, zones: TimeZones | undefined, { regionNames }: FleetNames): Problem[] {
  const named = zones !== undefined && "byRegion" in zones ? Object.keys(zones.byRegion) : [];
  return named
    .filter((name) => !regionNames.includes(name))
    .map((name) => expected(`${path}.byRegion`, `regions among ${regionNames.join(", ")}`, name));
}
