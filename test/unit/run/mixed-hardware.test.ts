/** Workers elsewhere with another kind of processor may give other last digits: only a run that says so takes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mixedRemark, remarkOn } from "../../../src/folder/provenance.ts";
import { needsOf, traitsOfMachine } from "../../../src/run/provenance.ts";
import { misfit } from "../../../src/runtime/pools/nats-wire.ts";
import { provenance } from "../../support/provenance.ts";

const here = traitsOfMachine();
const other = { ...here, processor: "arm64, another" };

test("a run takes workers with its own kind of processor, unless it was begun with mixed hardware", () => {
  assert.equal(misfit(needsOf(false, false), here), null);
  assert.match(misfit(needsOf(false, false), other) ?? "", /arm64, another/);
  assert.equal(misfit(needsOf(false, true), other), null);
});

test("mixed hardware lets in no other program", () => {
  assert.match(misfit(needsOf(false, true), { ...here, code: "0".repeat(64) }) ?? "", /code/);
});

test("a run that was mixed before or after it was continued says so", () => {
  assert.equal(remarkOn(provenance, provenance), null);
  assert.equal(
    remarkOn(provenance, { ...provenance, mixedHardware: true }),
    `${mixedRemark}, before or after it was continued`,
  );
});
