/**
 * A federation in miniature, with as much going wrong as the runtime can meet: lost, damaged, doubled and overtaking
 * messages, crashes, late updates, clients that retire, work begun early and never used.
 */
import { type ClientId, type ParticipationId, participationId, type Round, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { type Millis, millis } from "../../src/base/units.ts";
import {
  type ActorDefinition,
  after,
  defineActor,
  type Next,
  next,
  refTo,
  registration,
  send,
  type TurnContext,
} from "../../src/runtime/actor.ts";
import type { BlobRef, PledgeRef } from "../../src/runtime/messages/refs.ts";
import type { LabWeather } from "./actor-lab.ts";

const clients = 24;
const cohort = 8;
const values = 64;

interface Trained {
  readonly values: Float32Array;
}
type Part = { readonly round: Round; readonly participation: ParticipationId };
type ClientMessage = Part & ({ readonly type: "train"; readonly base: BlobRef } | { readonly type: "thanks" });
type ServerMessage =
  | { readonly type: "begin"; readonly rounds: number }
  | (Part & { readonly type: "update"; readonly update: PledgeRef<Trained>; readonly client: number })
  | { readonly type: "spoiled" }
  | { readonly type: "close"; readonly round: Round }
  | { readonly type: "score"; readonly score: number };
type EvaluatorMessage = { readonly type: "evaluate"; readonly base: BlobRef };

interface ClientState {
  readonly parts: number;
  readonly thanked: number;
  /** What the client keeps to itself from round to round. */
  readonly memory: Float32Array;
}

export interface ServerState {
  readonly rounds: number;
  readonly round: Round;
  readonly base: BlobRef | null;
  readonly parts: number;
  readonly updates: readonly { readonly participation: ParticipationId; readonly update: PledgeRef<Trained> }[];
  readonly late: number;
  readonly spoiled: number;
  readonly counted: readonly number[];
  readonly scores: readonly number[];
}

export const programClient = defineActor<ClientState, ClientMessage>({
  kind: "client",
  runsOn: "device",
  stage: ({ type }) => (type === "train" ? "download" : "acknowledge"),
  cost: ({ parts }, { type }) => (type === "train" ? millis(100 + 37 * parts) : millis(0)),
  receive(state, message, ctx) {
    const { round, participation } = message;
    if (message.type === "thanks") return next({ ...state, thanked: state.thanked + 1 });
    const seed = ctx.self.id + 1_000 * round;
    const update = ctx.pledge<Trained>({ work: "mix", job: { base: message.base, seed }, bytes: 4 * values });
    const memory = state.memory.map((value) => value + ctx.rng.at("memory", round).at(ctx.self.id).uniform());
    return next(
      { ...state, parts: state.parts + 1, memory },
      send(refTo(programServer), { type: "update", update, client: ctx.self.id, round, participation }),
    );
  },
});

export const programServer: ActorDefinition<ServerState, ServerMessage> = defineActor<ServerState, ServerMessage>({
  kind: "server",
  stage: () => "upload",
  receive(state, message, ctx) {
    switch (message.type) {
      case "begin": {
        const base = ctx.keep(ctx.put(new Float32Array(values).fill(1)));
        return invite({ ...state, rounds: message.rounds, base }, ctx);
      }
      case "update": {
        const { update, participation, client } = message;
        const isClosed = state.counted.length >= message.round;
        if (isClosed) return next({ ...state, late: state.late + 1 });
        ctx.keep(update);
        if (participation % 3 === 0) ctx.start(update);
        return next(
          { ...state, updates: [...state.updates, { participation, update }] },
          send(refTo(programClient, client), { type: "thanks", round: message.round, participation }),
        );
      }
      case "spoiled":
        return next({ ...state, spoiled: state.spoiled + 1 });
      case "close":
        return close(state, ctx);
      case "score":
        return next({ ...state, scores: [...state.scores, message.score] });
    }
  },
  corrupted: () => ({ type: "spoiled" }),
});

const evaluator = defineActor<{ readonly asked: number }, EvaluatorMessage>({
  kind: "evaluator",
  cost: () => millis(70),
  receive: (state, { base }, ctx) =>
    next(
      { asked: state.asked + 1 },
      send(refTo(programServer), { type: "score", score: ctx.floats(base).reduce((sum, value) => sum + value, 0) }),
    ),
});

function invite(state: ServerState, ctx: TurnContext): Next<ServerState, ServerMessage> {
  const now = round(state.round + 1);
  const chosen = ctx.rng.at("cohort", now).at(0).sample(clients, cohort);
  return next(
    { ...state, round: now, parts: state.parts + cohort, updates: [] },
    ...chosen.map((id, i) =>
      send(refTo(programClient, id), {
        type: "train",
        base: state.base!,
        round: now,
        participation: participationId(state.parts + i),
      }),
    ),
    after(millis(450), { type: "close", round: now }),
  );
}

/** Every other update counts, in order of participation; what it takes to know the others is never done. */
async function close(state: ServerState, ctx: TurnContext): Promise<Next<ServerState, ServerMessage>> {
  const sorted = state.updates.toSorted((a, b) => a.participation - b.participation);
  const counted = sorted.filter((_, i) => i % 2 === 0);
  const results = await ctx.open(counted.map(({ update }) => update));
  for (const { update } of sorted) ctx.discard(update);
  const sum = Float64Array.from(ctx.floats(state.base!));
  for (const { values } of results) for (let i = 0; i < values.length; i++) sum[i]! += values[i]!;
  const base = ctx.keep(ctx.put(Float32Array.from(sum, (value) => value / (results.length + 1))));
  ctx.discard(state.base!);
  const closed = { ...state, base, updates: [], counted: [...state.counted, results.length] };
  const evaluation = send(refTo(evaluator), { type: "evaluate", base });
  if (state.round === state.rounds) return next(closed, evaluation);
  const { effects, ...invited } = invite(closed, ctx);
  return { ...invited, effects: [evaluation, ...effects] };
}

const firstServer: ServerState = {
  rounds: 0,
  round: round(0),
  base: null,
  parts: 0,
  updates: [],
  late: 0,
  spoiled: 0,
  counted: [],
  scores: [],
};

export const program = [
  registration(programClient, {
    hydrate: (id): ClientState => ({ parts: 0, thanked: 0, memory: Float32Array.of(id) }),
    services: undefined,
  }),
  registration(programServer, { hydrate: () => firstServer, services: undefined }),
  registration(evaluator, { hydrate: () => ({ asked: 0 }), services: undefined }),
];

export const programClients = Array.from({ length: clients }, (_, id) => id as ClientId);

/** A fifth of all messages and work meets with something. */
export function storm(seed: number): LabWeather {
  const rng = new Rng(seed);
  return {
    transfer({ ticket, client }) {
      const draws = rng.at("transfer", ticket).at(client);
      const delay = 1 + draws.below(draws.bernoulli(0.1) ? 600 : 60);
      const luck = draws.uniform();
      if (luck < 0.08) return [{ in: delay, as: "dropout" }];
      if (luck < 0.14) return [{ in: delay, as: "corrupted" }];
      const arrival = { in: delay, as: "intact" } as const;
      return luck < 0.22 ? [arrival, { in: delay + draws.below(300), as: "intact" }] : [arrival];
    },
    compute({ ticket, client, duration }) {
      const draws = rng.at("compute", ticket).at(client);
      const luck = draws.uniform();
      const took = Math.ceil(duration * (0.5 + draws.uniform())) as Millis;
      return [{ in: took, as: luck < 0.1 ? "crash" : luck < 0.15 ? "dropout" : "computed" }];
    },
  };
}
