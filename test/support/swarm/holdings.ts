/**
 * Counts, from a snapshot, who refers to each blob and each pledge, and compares with who the store believes holds it.
 * One holder too many is a leak that a run of a thousand rounds would die of; one too few loses content in use.
 */
import assert from "node:assert/strict";
import type { ClientState } from "../../../actors/client.ts";
import type { ServerState } from "../../../actors/server-state.ts";
import { contentsOf } from "../../../actors/storage.ts";
import { decode } from "../../../src/runtime/messages/codec.ts";
import { open } from "../../../src/runtime/messages/envelope.ts";
import { inspect } from "../../../src/runtime/messages/plain.ts";
import { type Held, keyOf } from "../../../src/runtime/messages/refs.ts";
import type { Checker, Look } from "./drive.ts";

/** Snapshots cost time, so the books are audited now and then, and at the end. */
export const everyEvents = 97;

export function nothingLeaks(): Checker {
  return {
    name: "nothing leaks",
    afterEvent(look) {
      if (look.events % everyEvents === 0) audit(look);
    },
    atEnd: audit,
  };
}

function audit({ federation }: Look): void {
  const { system, rounds, programs } = federation.snapshot();
  const holders = new Map<string | number, number>();
  const hold = (held: Held) => void holders.set(keyOf(held), (holders.get(keyOf(held)) ?? 0) + 1);
  for (const digest of programs) hold({ ref: "blob", digest, bytes: 0 });
  const envelopes = [
    ...system.inFlight.map(({ envelope }) => envelope),
    ...system.entries.flatMap(({ mailbox, current }) => [...mailbox, ...(current === null ? [] : [current.envelope])]),
  ];
  for (const content of envelopes) for (const held of open(content).refs) hold(held);
  for (const [kind, , bytes] of system.registry.residents) {
    if (kind !== "server") continue;
    const { adapter, vectors, memories, outstanding, accepted, course } = decode(bytes) as ServerState;
    if (adapter.ref === "pledge" || adapter.digest !== "") hold(adapter);
    if (course?.best) hold(course.best.adapter);
    for (const stored of [vectors, ...Object.values(memories).map((memory) => memory.vectors)]) {
      for (const content of contentsOf(stored)) hold(content);
    }
    for (const { base, plan } of [...outstanding, ...accepted]) {
      hold(base);
      for (const input of Object.values(plan?.inputs ?? {})) if (typeof input !== "number") hold(input.content);
    }
    for (const { result } of accepted) hold(result);
  }
  for (const [kind, , bytes] of system.registry.devices) {
    if (kind !== "client") continue;
    for (const { adapter } of (decode(bytes) as ClientState).models ?? []) hold(adapter);
  }
  for (const { evaluations } of rounds.pending) {
    for (const { shards } of evaluations ?? []) for (const shard of shards) hold(shard);
  }
  for (const { recipe, result } of system.pledges.pledges) {
    if (result !== undefined) continue;
    for (const blob of inspect(recipe.job).refs) hold(blob);
  }
  for (const { digest, holders: counted } of system.blobs) {
    assert.equal(counted, holders.get(digest) ?? 0, `holders of blob ${digest.slice(0, 8)}`);
  }
  for (const { id, holders: counted } of system.pledges.pledges) {
    assert.equal(counted, holders.get(id) ?? 0, `holders of pledge ${id}`);
  }
  const known = system.blobs.length + system.pledges.pledges.length;
  assert.equal(holders.size, known, "contents that somebody refers to");
}
