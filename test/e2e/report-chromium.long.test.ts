/** Opens reports in a real browser, which sees what a test of the markup cannot: layout, and errors of the page. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { writeReport } from "../../src/report/report.ts";
import { needs } from "../support/needs.ts";
import { fakeRunFolder } from "../support/report-run-folder.ts";

const browser = ["chromium", "chromium-browser", "google-chrome"].find((name) => {
  try {
    execFileSync(name, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
});
const skip = browser === undefined && needs.chromium;

/** Measures every figure in the page and leaves the result in its title. */
const PROBE = `<script>
addEventListener("load", () => {
  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const { width, height } = figure.querySelector("svg.plot").getBoundingClientRect();
    const frame = figure.getBoundingClientRect();
    const outside = [...figure.querySelectorAll("svg.plot text")].filter((text) => {
      const box = text.getBoundingClientRect();
      return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1);
    }).length;
    return { id: figure.id, width, height, outside };
  });
  const overflow = document.documentElement.scrollWidth - innerWidth;
  document.title = "probe " + JSON.stringify({ figures, overflow, ink: getComputedStyle(document.body).color });
});
</script>`;

interface Seen {
  readonly figures: readonly {
    readonly id: string;
    readonly width: number;
    readonly height: number;
    readonly outside: number;
  }[];
  readonly overflow: number;
  readonly ink: string;
}

async function open(page: string, ...flags: string[]): Promise<string> {
  const profile = mkdtempSync(join(tmpdir(), "flame-chromium-"));
  const common = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
  ];
  try {
    const { stdout } = await promisify(execFile)(
      browser!,
      [...common, `--user-data-dir=${profile}`, ...flags, pathToFileURL(page).href],
      { timeout: 60_000, maxBuffer: 1 << 26 },
    );
    return stdout;
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
}

test("every plot of a report shows in a browser, light and dark, with its words inside the figure", {
  skip,
}, async (t) => {
  const folder = fakeRunFolder();
  t.after(() => rmSync(folder, { recursive: true }));
  const probed = join(folder, "probed.html");
  writeFileSync(probed, readFileSync(writeReport(folder), "utf8").replace("</body>", `${PROBE}</body>`));
  const seen: Seen[] = [];
  for (const scheme of [1, 0]) {
    const dom = await open(
      probed,
      "--window-size=1280,4000",
      `--blink-settings=preferredColorScheme=${scheme}`,
      "--dump-dom",
    );
    const title = /<title>probe (.*?)<\/title>/.exec(dom);
    assert.ok(title !== null, "the page did not finish loading");
    seen.push(JSON.parse(title[1]!.replaceAll("&quot;", '"').replaceAll("&amp;", "&")));
  }
  for (const { figures, overflow } of seen) {
    assert.equal(figures.length, 15);
    assert.equal(overflow, 0);
    for (const { id, width, height, outside } of figures) {
      assert.ok(width > 400 && height > 80, `${id} is ${width} × ${height}`);
      assert.equal(outside, 0, `${id} has words outside its frame`);
    }
  }
  assert.notEqual(seen[0]!.ink, seen[1]!.ink);
});

test("a browser can take a picture of the report", { skip }, async (t) => {
  const folder = fakeRunFolder({ rounds: 5 });
  t.after(() => rmSync(folder, { recursive: true }));
  const picture = join(folder, "report.png");
  await open(writeReport(folder), "--window-size=1280,4000", `--screenshot=${picture}`);
  // A blank page of this size compresses to about 20 kB.
  assert.ok(readFileSync(picture).byteLength > 100_000);
});
