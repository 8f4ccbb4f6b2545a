/**
 * A device that serves a model of experts, more of them than it has slots for. A router ahead of all layers has chosen
 * before the first layer begins, so every layer of a token needs the same experts, and waiting tokens say what is needed
 * next. Nothing is trained or computed: requests, choices and times are drawn.
 *
 *   on demand   L·(m·load + compute)
 *   prefetch    m·load + (L − 1)·max(compute, m·load) + compute        layer l + 1 is loaded while layer l is computed
 *
 * with m experts of the batch that are not there. Read-ME, Cai et al., 2024, https://arxiv.org/abs/2410.19123.
 */
import type { Rng } from "../../base/random.ts";
import { type Batching, nextBatch, type Waiting } from "./batching.ts";
import { type Eviction, ExpertCache } from "./expert-cache.ts";

export interface ServingSpec {
  readonly layers: number;
  readonly experts: number;
  /** Experts of a token. */
  readonly active: number;
  /** Experts of a layer that the device has room for. */
  readonly slots: number;
  readonly requests: number;
  /** Tokens of each request, one after the other. */
  readonly tokens: number;
  /** Of a request's tokens to come, those whose experts are known: one while text is decoded, all of a prompt. */
  readonly ahead: number;
  /** Requests a second, on average: a Poisson process. */
  readonly rate: number;
  /** Probability that the first expert of a token is that of its request's domain; domains are as frequent as one another. */
  readonly focus: number;
  /** Milliseconds to load an expert of a layer, and to compute a token in a layer. */
  readonly load: number;
  readonly compute: number;
  readonly eviction: Eviction;
  readonly batching: Batching;
  readonly prefetch: boolean;
  /** Tokens of a batch at most. */
  readonly most: number;
  /** Batches that a request is passed over at most. */
  readonly patience: number;
}

export interface Served {
  readonly tokens: number;
  readonly batches: number;
  /** Uses of an expert by a batch, and how many of them found it there. */
  readonly uses: number;
  readonly hits: number;
  /** Milliseconds from the arrival of each request to its last token. */
  readonly latencies: Float64Array;
}

/** The experts of every token of every request: the same for all policies. */
function choices({ requests, tokens, experts, active, focus }: ServingSpec, rng: Rng): number[][][] {
  const lane = rng.at("serving experts");
  return Array.from({ length: requests }, (_, request) => {
    const draws = lane.at(request);
    const domain = draws.below(experts);
    return Array.from({ length: tokens }, () => {
      const order = draws.sample(experts, experts);
      const first = draws.bernoulli(focus) ? domain : order[0]!;
      return [first, ...order.filter((expert) => expert !== first)].slice(0, active);
    });
  });
}

function arrivals({ requests, rate }: ServingSpec, rng: Rng): number[] {
  const draws = rng.at("serving arrivals").at(0);
  let time = 0;
  return Array.from({ length: requests }, () => (time += draws.exponential(1_000 / rate)));
}

export function serve(spec: ServingSpec, rng: Rng): Served {
  const { layers, slots, eviction, batching, prefetch, most, patience, load, compute } = spec;
  const experts = choices(spec, rng);
  const arrived = arrivals(spec, rng);
  const cache = new ExpertCache(slots, eviction);
  const latencies = new Float64Array(spec.requests);
  const done = new Uint32Array(spec.requests);
  let waiting: readonly Waiting[] = [];
  let [now, came, batches, tokens, uses, hits] = [0, 0, 0, 0, 0, 0];
  const wait = (request: number): Waiting => ({ request, experts: experts[request]![done[request]!]!, passed: 0 });
  /** Experts of the tokens to come, as if all went on side by side: of those that wait, then of the batch. */
  const toCome = (rest: readonly Waiting[], batch: readonly Waiting[]): number[] =>
    Array.from({ length: spec.ahead }, (_, step) => [
      ...rest.flatMap(({ request }) => experts[request]![done[request]! + step] ?? []),
      ...batch.flatMap(({ request }) => (step === 0 ? [] : (experts[request]![done[request]! + step] ?? []))),
    ]).flat();
  while (came < spec.requests || waiting.length > 0) {
    if (waiting.length === 0) now = Math.max(now, arrived[came]!);
    const fresh: Waiting[] = [];
    while (came < spec.requests && arrived[came]! <= now) fresh.push(wait(came++));
    const { batch, rest } = nextBatch([...waiting, ...fresh], batching, most, patience);
    // What is there serves first: else a cyclic order would evict each expert just before it is needed.
    const needed = [...new Set(batch.flatMap((one) => one.experts))].sort(
      (a, b) => Number(cache.has(b)) - Number(cache.has(a)) || a - b,
    );
    const known = [...needed, ...toCome(rest, batch)];
    let missing = 0;
    for (const [at, expert] of needed.entries()) {
      const next = (other: number): number => {
        const use = known.indexOf(other, at + 1);
        return use < 0 ? Infinity : use;
      };
      if (cache.use(expert, next)) hits++;
      else missing++;
    }
    now += stepTime(layers, missing * load, batch.length * compute, prefetch);
    batches++;
    tokens += batch.length;
    uses += needed.length;
    const again: Waiting[] = [];
    for (const { request } of batch) {
      done[request]!++;
      if (done[request] === spec.tokens) latencies[request] = now - arrived[request]!;
      else again.push(wait(request));
    }
    const passed = new Set(rest);
    const left = [...waiting, ...fresh].filter((one) => passed.has(one));
    waiting = [...left.map((one) => ({ ...one, passed: one.passed + 1 })), ...again];
  }
  return { tokens, batches, uses, hits, latencies };
}

/** @internal Milliseconds of a batch, from those that a layer takes to load what is missing and to compute. */
export const stepTime = (layers: number, load: number, compute: number, prefetch: boolean): number =>
  prefetch ? load + (layers - 1) * Math.max(load, compute) + compute : layers * (load + compute);
