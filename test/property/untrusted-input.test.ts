/**
 * Everything that somebody else may have written is hostile until it is parsed: checkpoints, envelopes, scenarios, traces.
 * 2,000 cases each; `npm run fuzz` deals out a hundred thousand. Data files and safetensors have tests of their own.
 */
import { after, test } from "node:test";
import { fuzz } from "../support/fuzz.ts";
import { fuzzTargets } from "../support/fuzz-targets.ts";

const { targets, close } = await fuzzTargets();
after(close);

for (const target of targets) {
  test(`${target.name}: accepted or refused with a reason, whatever comes`, async (t) => {
    const { accepted, refused } = await fuzz(target, 0, 2_000);
    t.diagnostic(`${accepted} accepted, ${refused} refused`);
    if (accepted === 0 || refused === 0) throw new Error("the cases are all alike: they show nothing");
  });
}
