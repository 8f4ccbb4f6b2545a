/** Opens reports in a real browser, which sees what a test of the markup cannot: layout, and errors of the page. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { escapeHtml } from "../../src/report/page.ts";
import { writeReport } from "../../src/report/report.ts";
import { renderStudy } from "../../src/report/study/page.ts";
import { folderOfFile } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { fakeRunFolder } from "../support/report-run-folder.ts";
import { studies } from "../support/study-cells.ts";

const browser = ["chromium", "chromium-browser", "google-chrome"].find((name) => {
  try {
    execFileSync(name, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
});
const skip = browser === undefined && needs.chromium;
const folder = folderOfFile();
const widths = [1400, 420];

/** A run's report and one of each kind of study, as HTML. */
function pages(): Record<string, string> {
  const run = fakeRunFolder({ scheduled: true });
  try {
    const rendered = Object.entries(studies).map(([name, comparison]) => [
      name,
      renderStudy(comparison, { title: `${name} x`, reproduce: `npx flame ${name} x` }),
    ]);
    return { run: readFileSync(writeReport(run), "utf8"), ...Object.fromEntries(rendered) };
  } finally {
    rmSync(run, { recursive: true });
  }
}

/** Measures every figure of every page in it, which share their origin with it, and leaves the result in its title. */
const PROBE = `<script>
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map((frame) => {
    const { document: page, innerWidth: width, getComputedStyle: styleOf } = frame.contentWindow;
    const figures = [...page.querySelectorAll("figure")].map((figure) => {
      const plot = figure.querySelector("svg.plot").getBoundingClientRect();
      const words = [...figure.querySelectorAll("svg.plot text")].filter((text) => text.textContent.trim() !== "");
      const boxes = words.map((text) => text.getBoundingClientRect());
      const outside = words.filter((_, at) => boxes[at].left < plot.left - 1 || boxes[at].right > plot.right + 1);
      const covered = words.filter((_, at) => boxes.some((box, other) => other < at && overlap(box, boxes[at])));
      const textOf = ({ textContent }) => textContent;
      return { id: figure.id, width: plot.width, height: plot.height, outside: outside.map(textOf), covered: covered.map(textOf) };
    });
    return { name: frame.name, width, figures, overflow: page.documentElement.scrollWidth - width, ink: styleOf(page.body).color };
  });
  document.title = "probe " + JSON.stringify(seen);
});
</script>`;

interface Seen {
  readonly name: string;
  readonly width: number;
  readonly figures: readonly {
    readonly id: string;
    readonly width: number;
    readonly height: number;
    readonly outside: readonly string[];
    readonly covered: readonly string[];
  }[];
  readonly overflow: number;
  readonly ink: string;
}

async function open(page: string, ...flags: string[]): Promise<string> {
  const common = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
  ];
  const { stdout } = await promisify(execFile)(
    browser!,
    [...common, `--user-data-dir=${join(folder, "profile")}`, ...flags, pathToFileURL(page).href],
    { timeout: 60_000, maxBuffer: 1 << 26 },
  );
  return stdout;
}

test("every plot of a run's and of a study's report shows on a screen and on a phone, light and dark, its words apart", {
  skip,
}, async () => {
  const frames = Object.entries(pages()).flatMap(([name, html]) =>
    widths.map(
      (width) =>
        `<iframe name="${name}" style="width:${width}px;height:900px;border:0" srcdoc="${escapeHtml(html)}"></iframe>`,
    ),
  );
  const page = join(folder, "pages.html");
  writeFileSync(page, `<!doctype html><body>${frames.join("\n")}${PROBE}</body>`);
  const inks: string[] = [];
  for (const scheme of [1, 0]) {
    const dom = await open(page, `--blink-settings=preferredColorScheme=${scheme}`, "--dump-dom");
    const title = /<title>probe (.*?)<\/title>/.exec(dom);
    assert.ok(title !== null, "the page did not finish loading");
    const seen: readonly Seen[] = JSON.parse(
      title[1]!.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&amp;", "&"),
    );
    assert.equal(seen.length, 4 * widths.length);
    for (const { name, width, figures, overflow, ink } of seen) {
      inks.push(ink);
      assert.ok(figures.length >= 5, `${name} has ${figures.length} figures`);
      assert.equal(overflow, 0, `${name} is wider than ${width}`);
      for (const { id, width: own, height, outside, covered } of figures) {
        const where = `${name}, ${id} at ${width}`;
        assert.ok(own > 0.75 * Math.min(560, width) && height > 80, `${where} is ${own} × ${height}`);
        assert.deepEqual(outside, [], `${where}: words outside its frame`);
        assert.deepEqual(covered, [], `${where}: words upon words`);
      }
    }
  }
  assert.equal(new Set(inks).size, 2);
});

test("a browser can take a picture of the reports", { skip }, async () => {
  const { run, stress } = pages();
  for (const [name, html] of Object.entries({ run: run!, stress: stress! })) {
    const [page, picture] = [join(folder, `${name}.html`), join(folder, `${name}.png`)];
    writeFileSync(page, html);
    await open(page, "--window-size=1280,4000", `--screenshot=${picture}`);
    // A blank page of this size compresses to about 20 kB.
    assert.ok(readFileSync(picture).byteLength > 100_000);
  }
});
