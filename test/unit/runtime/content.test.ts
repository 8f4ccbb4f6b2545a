import assert from "node:assert/strict";
import { test } from "node:test";
import { type ParticipationId, participationId, type Round, round } from "../../../src/base/ids.ts";
import { minutes } from "../../../src/base/units.ts";
import { after, defineActor, next, refTo, registration, send } from "../../../src/runtime/actor.ts";
import type { BlobRef, PledgeRef, Ref } from "../../../src/runtime/messages/refs.ts";
import { calm, type Fate, openLab } from "../../support/actor-lab.ts";

interface Mixed {
  readonly values: Float32Array;
}
type LeafMessage = {
  readonly type: "train";
  readonly base: BlobRef;
  readonly round: Round;
  readonly participation: ParticipationId;
};
type RootMessage =
  | { readonly type: "go"; readonly clients: number; readonly keep: readonly number[] }
  | {
      readonly type: "update";
      readonly update: PledgeRef<Mixed>;
      readonly round: Round;
      readonly participation: ParticipationId;
    }
  | { readonly type: "close" };
interface RootState {
  readonly keep: readonly number[];
  readonly kept: readonly PledgeRef<Mixed>[];
  readonly sums: readonly number[];
}

const leaf = defineActor<object, LeafMessage>({
  kind: "leaf",
  runsOn: "device",
  stage: () => "download",
  receive(state, { base, round, participation }, ctx) {
    const update = ctx.pledge<Mixed>({ work: "mix", job: { base, seed: ctx.self.id }, bytes: 4_000 });
    const root: Ref<RootMessage> = { kind: "root", id: 0 };
    return next(state, send(root, { type: "update", update, round, participation }));
  },
});

const root = defineActor<RootState, RootMessage>({
  kind: "root",
  stage: () => "upload",
  async receive(state, message, ctx) {
    switch (message.type) {
      case "go": {
        const base = ctx.put(new Float32Array(1_000).fill(1));
        const invitations = Array.from({ length: message.clients }, (_, id) =>
          send(refTo(leaf, id), { type: "train", base, round: round(1), participation: participationId(id) }),
        );
        return next({ ...state, keep: message.keep }, ...invitations, after(minutes(1), { type: "close" }));
      }
      case "update":
        if (!state.keep.includes(message.participation)) return next(state);
        return next({ ...state, kept: [...state.kept, ctx.keep(message.update)] });
      case "close": {
        const updates = await ctx.open(state.kept);
        for (const pledge of state.kept) ctx.discard(pledge);
        const sums = updates.map(({ values }) => values.reduce((sum, value) => sum + value, 0));
        ctx.emit({ type: "closed", first: updates[0]!.values.slice(0, 2) });
        return next({ ...state, kept: [], sums });
      }
    }
  },
});

const treeActors = [
  registration(leaf, { hydrate: () => ({}), services: undefined }),
  registration(root, { hydrate: (): RootState => ({ keep: [], kept: [], sums: [] }), services: undefined }),
];

test("only what counts is worked out, and nothing is left over", async () => {
  const { system, kernel, blobs, environment } = openLab(treeActors);
  const events: unknown[] = [];
  system.observer.on("event", (event, actor, at) => events.push([event.type, actor.kind, at]));
  system.post(refTo(root), { type: "go", clients: 10, keep: [4, 2] });
  await kernel.run({ until: () => kernel.pending === 1 && kernel.now > 0 });
  assert.equal(system.outstandingPledges, 2);
  await kernel.run();
  const { sums } = system.state(refTo(root)) as RootState;
  assert.equal(sums.length, 2);
  assert.deepEqual(system.diagnostics.pledges, { begun: 2, opened: 2, discarded: 8 });
  assert.equal(blobs.count, 0);
  assert.equal(system.outstandingPledges, 0);
  assert.deepEqual(events, [["closed", "root", 60_000]]);
  const [download, upload] = [environment.transfers[0]!, environment.transfers[10]!];
  assert.ok(download.bytes > 4_000 && download.bytes < 4_300, "an invitation weighs what the adapter weighs");
  assert.ok(upload.bytes > 4_000 && upload.bytes < 4_300, "an update weighs what was pledged");
});

test("an update that is lost on its way takes its pledge and its blobs with it", async () => {
  const lossy = {
    transfer: ({ stage }: { stage: string }): Fate => [{ in: 10, as: stage === "upload" ? "dropout" : "intact" }],
    compute: calm.compute,
  };
  const { system, kernel, blobs } = openLab(treeActors, { weather: lossy });
  system.post(refTo(root), { type: "go", clients: 5, keep: [0, 1, 2, 3, 4] });
  await kernel.run({ until: () => kernel.pending === 1 && kernel.now > 0 });
  assert.equal(system.outstandingPledges, 0);
  assert.equal(blobs.count, 0);
});
