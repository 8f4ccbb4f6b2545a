/** The bill of materials of what is installed, development included: `npm run sbom`, in CycloneDX. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { packageRoot } from "../../src/base/places.ts";

interface Component {
  readonly name: string;
  readonly version: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses?: readonly unknown[];
}

test("the bill of materials has every package of the lock file, with its checksum and licence", () => {
  const root = packageRoot();
  const said = execFileSync("npm", ["run", "--silent", "sbom"], { cwd: root, encoding: "utf8" });
  const { bomFormat, components } = JSON.parse(said) as { bomFormat: string; components: readonly Component[] };
  assert.equal(bomFormat, "CycloneDX");
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; integrity: string; optional?: true }>;
  };
  const hashes = new Map(
    components.map(({ name, version, hashes = [] }) => [`${name} ${version}`, hashes.map(({ content }) => content)]),
  );
  // npm leaves out some of what is for machines of another make.
  const ours = Object.entries(lock.packages).filter(([path, { optional }]) => path !== "" && !optional);
  assert.ok(ours.length > 100, `${ours.length} packages`);
  for (const [path, { version, integrity }] of ours) {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const digest = Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex");
    assert.deepEqual(hashes.get(`${name} ${version}`), [digest], `${name} ${version}`);
  }
  for (const { name, licenses = [] } of components) assert.ok(licenses.length > 0, name);
});
