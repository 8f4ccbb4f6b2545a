import assert from "node:assert/strict";
import { test } from "node:test";
import { adapterLayout } from "../../../src/model/adapter.ts";
import { parameterLayout } from "../../../src/tasks/llm/task.ts";
import { membersOf } from "../../../src/tasks/members.ts";
import { smallModel } from "../../support/small-model.ts";

test("members lie one after the other, each laid out as one model", () => {
  const one = parameterLayout(adapterLayout(smallModel, { rank: 2, alpha: 4 }));
  assert.deepEqual(membersOf(one, 1), one);
  const three = membersOf(one, 3);
  assert.equal(three.size, 3 * one.size);
  assert.equal(three.groups.length, 3 * one.groups.length);
  assert.equal(three.pairs.length, 3 * one.pairs.length);
  const seen = new Uint8Array(three.size);
  for (const { ranges } of three.groups)
    for (const { start, end } of ranges) for (let i = start; i < end; i++) seen[i]!++;
  assert.ok(seen.every((times) => times === 1));
  for (const { group, rank, inputs, outputs, a, b } of three.pairs) {
    const isInside = (start: number, length: number) =>
      three.groups[group]!.ranges.some((range) => range.start <= start && start + length <= range.end);
    assert.ok(isInside(a, rank * inputs) && isInside(b, outputs * rank));
  }
});
