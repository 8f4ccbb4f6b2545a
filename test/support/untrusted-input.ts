/** Tests that parse what somebody else may have written: checkpoints, envelopes, scenarios, traces. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fuzz } from "./fuzz.ts";
import { fuzzTargets } from "./fuzz-targets.ts";

/** One test for each kind of input, with the cases from `from` up to `until`, a multiple of four later. */
export async function untrustedInput(from: number, until: number): Promise<void> {
  const { targets, close } = await fuzzTargets();
  after(close);
  for (const target of targets) {
    test(`${target.name}: accepted or refused with a reason, whatever comes`, async () => {
      const { accepted, refused } = await fuzz(target, from, target.isSlow ? from + (until - from) / 4 : until);
      assert.ok(accepted > 0 && refused > 0, "the cases are all alike: they show nothing");
    });
  }
}
