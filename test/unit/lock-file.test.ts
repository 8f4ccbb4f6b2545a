import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("every package of the lock file has a checksum and a licence that asks for nothing but credit", () => {
  const lock = JSON.parse(readFileSync(new URL("../../package-lock.json", import.meta.url), "utf8")) as {
    packages: Record<string, { link?: true; integrity?: string; license?: string; dev?: true; peer?: true }>;
  };
  const entries = Object.entries(lock.packages).filter(([path, { link }]) => path !== "" && link === undefined);
  assert.ok(entries.length > 200);
  assert.deepEqual(
    entries.flatMap(([path, { integrity }]) => (integrity?.startsWith("sha512-") ? [] : [path])),
    [],
  );
  const ours = entries.filter(([, { dev, peer }]) => dev === undefined && peer === undefined);
  const odd = ours.filter(
    ([, { license }]) => !/^\(?(MIT|ISC|BSD-[23]-Clause|Apache-2\.0|0BSD|Unlicense)\b/.test(license ?? ""),
  );
  assert.deepEqual(
    odd.map(([path, { license }]) => `${path}: ${license}`),
    [],
  );
});
