/** A strategy that is looked at while a run plays, and what must hold of what was seen. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sha256 } from "../../src/base/digest.ts";
import { type ClientId, clientName, type ParticipationId } from "../../src/base/ids.ts";
import { type ClientMemory, emptyMemory } from "../../src/fl/plan.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { readLines } from "../../src/folder/line-file.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { encode } from "../../src/runtime/messages/codec.ts";

/** What a client remembered when it was invited, and what it would remember once the update that was folded is counted. */
type Sight =
  | { readonly type: "plan"; readonly client: ClientId; readonly memory: string }
  | { readonly type: "fold"; readonly client: ClientId; readonly of: ParticipationId; readonly memory: string | null };

const digestOf = (memory: ClientMemory): string => sha256(encode(memory));

/** The same strategy. An update that it says it does not keep is overwritten as soon as it is folded. */
export function watched(host: Strategy, seen: Sight[]): Strategy {
  const { plan, reply } = host;
  let remembered: string | null = null;
  return {
    ...host,
    spec: { type: "watched" },
    ...(plan && {
      plan(client, server, setting) {
        seen.push({ type: "plan", client: client.client, memory: digestOf(client.memory) });
        return plan(client, server, setting);
      },
    }),
    ...(reply && {
      reply(...given) {
        const replied = reply(...given);
        remembered = replied.memory === undefined ? null : digestOf(replied.memory);
        return replied;
      },
    }),
    fold(sum, update, setting, at) {
      const { client, participation } = update;
      seen.push({ type: "fold", client, of: participation, memory: remembered });
      host.fold(sum, update, setting, at);
      if (host.folding !== "all") update.values.fill(Number.NaN);
    },
  };
}

/** @returns how many participations ended in each way */
export function assertLawful(out: string, seen: readonly Sight[]): Readonly<Record<string, number>> {
  const rows = readLines<ParticipationRow>(join(out, "participations.jsonl"));
  const outcomes = new Map<number, string>(rows.map(({ participation, outcome }) => [participation, outcome]));
  const counted = rows.filter(({ outcome }) => outcome === "counted");
  assertMemories(seen, outcomes);
  const folded = seen.flatMap((sight) => (sight.type === "fold" ? [sight.of] : []));
  assert.equal(new Set(folded).size, folded.length, "an update was folded twice");
  for (const { participation } of counted) assert.ok(folded.some((of) => of === participation));
  for (const of of folded) {
    const { outcome, reason } = rows.find(({ participation }) => participation === of)!;
    // A sum with too few updates is thrown away.
    assert.ok(outcome === "counted" || reason === "too-few-updates", `${of} was folded, and is ${outcome}: ${reason}`);
  }
  const weighed: string[] = [];
  for (const { round, weights } of readLines<RoundMetrics>(join(out, "metrics.jsonl"))) {
    if (weights.length === 0) continue;
    const sum = weights.reduce((total, { weight }) => total + weight, 0);
    assert.ok(Math.abs(sum - 1) < 1e-9, `weights of round ${round} sum to ${sum}`);
    weighed.push(...weights.map(({ client }) => client));
  }
  assert.deepEqual(weighed.sort(), counted.map(({ client }) => client).sort(), "who has weight is not who was counted");
  return Object.fromEntries(
    [...new Set(outcomes.values())].map((name) => [name, rows.filter(({ outcome }) => outcome === name).length]),
  );
}

/** A client plans with what its last counted update left it, and an update that was not counted left it nothing. */
function assertMemories(seen: readonly Sight[], outcomes: ReadonlyMap<number, string>): void {
  const known = new Map<ClientId, string>();
  const nothing = digestOf(emptyMemory);
  for (const sight of seen) {
    const { client, memory } = sight;
    if (sight.type === "plan") {
      assert.equal(memory, known.get(client) ?? nothing, `memory of ${clientName(client)} when it was invited`);
    } else if (outcomes.get(sight.of) === "counted" && memory !== null) known.set(client, memory);
  }
}
