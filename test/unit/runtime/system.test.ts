import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError, MachineError } from "../../../src/base/errors.ts";
import { type ParticipationId, participationId, type Round, round } from "../../../src/base/ids.ts";
import { type Millis, millis, seconds } from "../../../src/base/units.ts";
import {
  type ActorDefinition,
  after,
  defineActor,
  next,
  refTo,
  registration,
  send,
} from "../../../src/runtime/actor.ts";
import type { Ref } from "../../../src/runtime/messages/refs.ts";
import { type Fate, type LabWeather, openLab } from "../../support/actor-lab.ts";

type ClientMessage = {
  readonly type: "work";
  readonly n: number;
  readonly round: Round;
  readonly participation: ParticipationId;
};
type ServerMessage =
  | { readonly type: "go"; readonly to: readonly number[] }
  | { readonly type: "done"; readonly n: number; readonly round: Round; readonly participation: ParticipationId }
  | { readonly type: "damaged"; readonly client: number }
  | { readonly type: "tick"; readonly n: number };

interface ServerState {
  readonly heard: readonly number[];
}

const heard = (state: ServerState, n: number): ServerState => ({ heard: [...state.heard, n] });
const work = (n: number): ClientMessage => ({ type: "work", n, round: round(1), participation: participationId(n) });

/** Counts what it has done, answers with what it was given. */
const client = defineActor<{ readonly done: number }, ClientMessage, { busy: Millis }>({
  kind: "client",
  runsOn: "device",
  stage: () => "download",
  cost: () => seconds(1),
  receive(state, { n, round, participation }) {
    if (n === 13) throw new Error("its previous turn has not ended");
    return next({ done: state.done + 1 }, send(refTo(server), { type: "done", n, round, participation }));
  },
});

/** Sends work `n` to client `n % 100`, in the order it is told. */
const server: ActorDefinition<ServerState, ServerMessage> = defineActor<ServerState, ServerMessage>({
  kind: "server",
  stage: () => "upload",
  receive(state, message) {
    switch (message.type) {
      case "go":
        return next(state, ...message.to.map((n) => send(refTo(client, n % 100), work(n))));
      case "done":
        return next(heard(state, message.n));
      case "damaged":
        return next(heard(state, -message.client));
      case "tick":
        return message.n === 0 ? next(state) : next(heard(state, message.n), after(seconds(message.n), tick(0)));
    }
  },
  corrupted: ({ from }) => ({ type: "damaged", client: from.id }),
});
const tick = (n: number) => ({ type: "tick", n }) as const;

const actors = [
  registration(client, { hydrate: () => ({ done: 0 }), services: { busy: seconds(1) } }),
  registration(server, { hydrate: () => ({ heard: [] }), services: undefined }),
];

async function runLab(weather: Partial<LabWeather>, to: readonly number[]) {
  const calm = { transfer: () => [{ in: 10, as: "intact" as const }], compute: () => [computed] };
  const lab = openLab(actors, { weather: { ...calm, ...weather } });
  lab.system.post(refTo(server), { type: "go", to });
  await lab.kernel.run();
  return { ...lab, heard: (lab.system.state(refTo(server)) as ServerState).heard };
}
const computed = { in: 1_000, as: "computed" } as const;

test("a message goes out, costs its time, and comes back", async () => {
  const { heard, kernel, rows } = await runLab({}, [7]);
  assert.deepEqual(heard, [7]);
  assert.equal(kernel.now, 10 + 1_000 + 10);
  assert.deepEqual(
    rows().map(({ t, type, n }) => [t, type, n]),
    [
      [0, "sent", 1],
      [0, "sent", 2],
      [0, "turn", 1],
      [10, "delivered", 2],
      [1_010, "sent", 4],
      [1_010, "turn", 2],
      [1_020, "turn", 4],
    ],
  );
});

test("a network message is metered as its bytes, with round, participation and stage", async () => {
  const { environment, rows } = await runLab({}, [7]);
  const sizes = rows()
    .filter(({ type, to, from }) => type === "sent" && (to !== "server" || from !== "outside"))
    .map(({ bytes }) => bytes);
  assert.deepEqual(
    environment.transfers.map(({ client, stage, bytes, participation, round }) => ({
      client,
      stage,
      bytes,
      participation,
      round,
    })),
    [
      { client: 7, stage: "download", bytes: sizes[0], participation: 7, round: 1 },
      { client: 7, stage: "upload", bytes: sizes[1], participation: 7, round: 1 },
    ],
  );
  assert.equal(environment.computations[0]!.duration, 1_000);
});

test("an actor has one turn at a time, and takes its messages in the order they were sent", async () => {
  const { heard, rows } = await runLab({}, [1, 101, 201]);
  assert.deepEqual(heard, [1, 101, 201]);
  const turns = rows().filter(({ type, actor }) => type === "turn" && actor === "client/c-001");
  assert.deepEqual(
    turns.map(({ t }) => t),
    [1_010, 2_010, 3_010],
  );
});

test("an envelope that overtakes an earlier one of its pair waits for it", async () => {
  const delays = new Map([
    [101, 500],
    [201, 40],
  ]);
  const transfer = ({ participation }: { participation: number }): Fate => [
    { in: delays.get(participation) ?? 10, as: "intact" },
  ];
  const { heard, rows } = await runLab({ transfer }, [1, 101, 201, 2]);
  assert.deepEqual(heard, [1, 2, 101, 201]);
  const begun = rows().filter(({ type, to }) => type === "delivered" && to === "client/c-001");
  assert.deepEqual(
    begun.map(({ t }) => t),
    [10, 500, 500],
  );
});

test("a lost message holds nothing back once it is known to be lost", async () => {
  const transfer = ({ participation, stage }: { participation: number; stage: string }): Fate =>
    participation === 1 && stage === "download" ? [{ in: 300, as: "dropout" }] : [{ in: 10, as: "intact" }];
  const { heard, rows, kernel } = await runLab({ transfer }, [1, 101]);
  assert.deepEqual(heard, [101]);
  const lost = rows().find(({ type }) => type === "lost");
  assert.deepEqual(
    [lost?.phase, lost?.reason, lost?.from, lost?.to],
    ["download", "dropout", "server", "client/c-001"],
  );
  assert.equal(kernel.now, 300 + 1_000 + 10);
});

test("a message that arrives twice is heard once", async () => {
  const twice: Fate = [
    { in: 10, as: "intact" },
    { in: 90, as: "intact" },
  ];
  const { heard, system } = await runLab({ transfer: () => twice }, [1, 2]);
  assert.deepEqual(heard, [1, 2]);
  assert.equal(system.diagnostics.duplicates, 4);
});

test("a damaged message is told to receivers that want to know, and not heard by others", async () => {
  const transfer = ({ participation, stage }: { participation: number; stage: string }): Fate => [
    { in: 10, as: (participation === 1) === (stage === "upload") ? "corrupted" : "intact" },
  ];
  const { heard, rows } = await runLab({ transfer }, [1, 2]);
  assert.deepEqual(heard, [-1]);
  const corrupted = rows().filter(({ type }) => type === "corrupted");
  assert.deepEqual(
    corrupted.map(({ from, to }) => [from, to]),
    [
      ["server", "client/c-002"],
      ["client/c-001", "server"],
    ],
  );
});

test("a turn whose work is cut off never happened", async () => {
  let crashes = 1;
  const compute = (): Fate => (crashes-- > 0 ? [{ in: 400, as: "crash" }] : [computed]);
  const { heard, system, rows } = await runLab({ compute }, [1, 101]);
  assert.deepEqual(heard, [101]);
  assert.deepEqual(system.state(refTo(client, 1)), { done: 1 });
  const lost = rows().find(({ type }) => type === "lost");
  assert.deepEqual([lost?.t, lost?.n, lost?.phase], [410, 2, "training"]);
});

test("however often its turn is cut off, an actor goes on with the state it had", async () => {
  let losses = 5;
  const compute = (): Fate => (losses-- > 0 ? [{ in: 400, as: losses % 2 === 0 ? "crash" : "dropout" }] : [computed]);
  const { heard } = await runLab({ compute }, [1, 101, 201, 301, 401, 501]);
  assert.deepEqual(heard, [501]);
});

test("an idle client costs nothing, and a busy one only once its state has changed", async () => {
  const { system } = await runLab({}, [1, 2, 3]);
  assert.equal(system.storedStates, 3);
  assert.deepEqual(system.state(refTo(client, 2)), { done: 1 });
  assert.deepEqual(system.state(refTo(client, 77)), { done: 0 });
  const { system: dropped } = await runLab({ compute: () => [{ in: 1, as: "dropout" }] }, [1, 2, 3]);
  assert.equal(dropped.storedStates, 0);
});

test("a timer comes back after its time; the shorter of two comes first", async () => {
  const { system, kernel, rows } = openLab(actors);
  system.post(refTo(server), tick(9));
  system.post(refTo(server), tick(2));
  await kernel.run();
  assert.equal(kernel.now, 9_000);
  const rings = rows().filter(({ type, message, t }) => type === "turn" && message === "tick" && t !== 0);
  assert.deepEqual(
    rings.map(({ t }) => t),
    [2_000, 9_000],
  );
});

test("a turn that throws ends the run with time, actor, message, round and how to see it again", async () => {
  await assert.rejects(runLab({}, [5, 13]), (error) => {
    assert.ok(error instanceof InvariantError);
    assert.equal(
      error.message,
      'run failed at 1.01s, client/c-013 handling "work" (round 1): its previous turn has not ended\n' +
        "  reproduce: npx flame run lab.ts --seed 1",
    );
    assert.equal((error.cause as Error).message, "its previous turn has not ended");
    return true;
  });
});

test("a failure of the machine stays one when it ends a turn", async () => {
  const disk = defineActor<null | object, { type: "go" }>({
    kind: "disk",
    receive: async () => {
      throw new MachineError("no space left");
    },
  });
  const { system, kernel } = openLab([registration(disk, { hydrate: () => ({}), services: undefined })]);
  system.post(refTo(disk), { type: "go" });
  await assert.rejects(kernel.run(), { name: "MachineError", message: /disk handling "go": no space left/ });
});

test("an onlooker that fails is noted and changes nothing", async () => {
  const quiet = await runLab({}, [1, 2]);
  const lab = openLab(actors, { weather: { transfer: () => [{ in: 10, as: "intact" }], compute: () => [computed] } });
  const seen: unknown[] = [];
  lab.system.observer.on("turn", () => {
    throw new Error("the display is gone");
  });
  lab.system.observer.on("turn", async (row) => {
    (row as unknown as { actor: string }).actor = "nobody";
    throw new Error("so is the disk");
  });
  const end = lab.system.observer.on("sent", ({ n }) => seen.push(n));
  lab.system.post(refTo(server), { type: "go", to: [1, 2] });
  await lab.kernel.run();
  end();
  assert.equal(lab.trace.digest(), quiet.trace.digest());
  assert.deepEqual(seen, [1, 2, 3, 6, 7]);
  const { onlookers } = lab.system.diagnostics;
  assert.equal(onlookers.length, 10);
  assert.ok(onlookers.includes('an onlooker of "turn" failed: the display is gone'));
});

test("a turn that has ended cannot be continued", async () => {
  let late: (() => void) | undefined;
  const sly = defineActor<object, { type: "go" }>({
    kind: "sly",
    receive(state, _, ctx) {
      late = () => ctx.put(Uint8Array.of(1));
      return next(state);
    },
  });
  const { system, kernel } = openLab([registration(sly, { hydrate: () => ({}), services: undefined })]);
  system.post(refTo(sly), { type: "go" });
  await kernel.run();
  assert.throws(() => late!(), /sly used the context of a turn that has ended/);
});

test("an unknown address is an error that names those there are", async () => {
  const lost = defineActor<object, { type: "go" }>({
    kind: "lost",
    receive: (state) => next(state, send({ kind: "elsewhere", id: 0 } as Ref<{ type: "go" }>, { type: "go" })),
  });
  const { system, kernel } = openLab([registration(lost, { hydrate: () => ({}), services: undefined })]);
  system.post(refTo(lost), { type: "go" });
  await assert.rejects(kernel.run(), /no actor of kind "elsewhere", expected lost/);
});

test("a server's turn may cost time too, and messages wait meanwhile", async () => {
  const slow = defineActor<{ readonly at: readonly number[] }, { type: "go" }>({
    kind: "slow",
    cost: () => millis(250),
    receive: (state, _, ctx) => next({ at: [...state.at, ctx.now] }),
  });
  const { system, kernel } = openLab([registration(slow, { hydrate: () => ({ at: [] }), services: undefined })]);
  for (let i = 0; i < 3; i++) system.post(refTo(slow), { type: "go" });
  await kernel.run();
  assert.deepEqual(system.state(refTo(slow)), { at: [250, 500, 750] });
});
