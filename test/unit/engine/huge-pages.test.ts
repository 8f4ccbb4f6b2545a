import assert from "node:assert/strict";
import { test } from "node:test";
import { describeHugePages, type HugePageFacts, wantsRestart } from "../../../src/engine/huge-pages.ts";

const asks: HugePageFacts = { setting: "madvise", tunables: undefined, replaces: true };

test("the command starts itself again only where huge pages are for whoever asks, and nobody has asked", () => {
  assert.equal(wantsRestart(asks), true);
  for (const setting of ["always", "never", null] as const) assert.equal(wantsRestart({ ...asks, setting }), false);
  assert.equal(wantsRestart({ ...asks, replaces: false }), false);
  for (const tunables of ["", "glibc.malloc.hugetlb=1", "glibc.malloc.check=3"])
    assert.equal(wantsRestart({ ...asks, tunables }), false);
});

test("the doctor says whether memory is in huge pages, and how it could be", () => {
  const found = (facts: Partial<HugePageFacts>) => describeHugePages({ ...asks, ...facts });
  assert.deepEqual(found({ setting: "always" }), { ok: true, found: "always" });
  assert.equal(found({ tunables: "glibc.malloc.check=3:glibc.malloc.hugetlb=1" }).ok, true);
  assert.equal(found({ setting: null }).ok, true);
  assert.match(found({ setting: "never" }).found, /switched off/);
  assert.match(found({}).found, /GLIBC_TUNABLES=glibc\.malloc\.hugetlb=1/);
});
