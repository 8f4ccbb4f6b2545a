/** A client of an ensemble trains several models, one after the other, and sends what it found of all of them. */
import * as z from "zod";
import { whole } from "../src/base/fields.ts";
import type { Draws } from "../src/base/random.ts";
import type { TrainJob, TrainResult } from "../src/tasks/training-engine.ts";

/** Which models of how many a client trains. */
export const membersSchema = z.strictObject({ chosen: z.array(whole).readonly(), all: whole });
export type Members = Readonly<z.output<typeof membersSchema>>;

/**
 * The job of one member: its own stretch of the parameters and of vectors like them, its own number of vectors of one for
 * each member, and the same batches in an order of its own, so that all members see as many tokens. The first keeps the order
 * of a client that trains one model.
 *
 * @param draws of this member in this round, at this client
 */
export function memberJob(job: TrainJob, member: number, { all }: Members, draws: Draws): TrainJob {
  const { parameters, batches, method } = job;
  const size = parameters.length / all;
  const own = (vector: Float32Array, size: number) => vector.slice(member * size, (member + 1) * size);
  const inputs = Object.entries(method?.inputs ?? {}).map(([name, value]) => {
    if (typeof value === "number") return [name, value] as const;
    const part = value.length === parameters.length ? own(value, size) : value.length === all ? own(value, 1) : value;
    return [name, part] as const;
  });
  return {
    ...job,
    parameters: own(parameters, size),
    batches: member === 0 ? batches : draws.shuffle([...batches]),
    ...(method && { method: { ...method, inputs: Object.fromEntries(inputs) } }),
  };
}

/**
 * What a client found, from what it found of each of its members. Members that it did not train stay as they were and
 * were not used; personal numbers and losses are means, probes and tallies are sums.
 *
 * @param results of the chosen members, in that order
 */
export function together(job: TrainJob, { chosen, all }: Members, results: readonly TrainResult[]): TrainResult {
  const first = results[0]!;
  const size = job.parameters.length / all;
  const groups = first.counts.length;
  const parameters = job.parameters.slice();
  const counts = new Float64Array(all * groups);
  const found: Record<string, Float64Array> = {};
  for (const [at, member] of chosen.entries()) {
    const result = results[at]!;
    parameters.set(result.parameters, member * size);
    counts.set(result.counts, member * groups);
    for (const [name, values] of Object.entries(result.found)) {
      found[name] = found[name]?.map((sum, i) => sum + values[i]!) ?? values;
    }
  }
  return {
    parameters,
    counts,
    found,
    personal: meanOf(results.map(({ personal }) => personal)),
    losses: meanOf(results.map(({ losses }) => losses)),
    units: first.units,
  };
}

const meanOf = (vectors: readonly Float32Array[]): Float32Array =>
  vectors[0]!.map((_, i) => vectors.reduce((sum, vector) => sum + vector[i]!, 0) / vectors.length);
