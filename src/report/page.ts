/** The page around the figures: one HTML file that needs no network, no script and no font of its own. */
import type { Figure, LegendEntry } from "./figure.ts";

export interface Section {
  readonly title: string;
  /** A sentence under the title. */
  readonly lead?: string;
  readonly figures?: readonly Figure[];
  /** Ready HTML after the figures: tables, notes. */
  readonly html?: string;
}

export interface Page {
  readonly title: string;
  readonly eyebrow: string;
  readonly question: string | null;
  /** Short facts beside the title. */
  readonly chips: readonly string[];
  /** Ready HTML between the head and the sections. */
  readonly summary: string;
  readonly sections: readonly Section[];
  readonly footer: string;
}

/** Also keeps a number and its unit on one line. */
export const escapeHtml = (text: string): string =>
  text
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
    .replace(/(\d) (%|pp|×|[kMGT]?B)(?![\w])/g, "$1\u00a0$2")
    .replace(/\bk = (?=\d)/g, "k\u00a0=\u00a0");

export function renderPage({ title, eyebrow, question, chips, summary, sections, footer }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">${escapeHtml(eyebrow)}</p>
<h1>${escapeHtml(title)}</h1>
${question === null ? "" : `<p class="question">${escapeHtml(question)}</p>`}
<ul class="chips">${chips.map((chip) => `<li>${escapeHtml(chip)}</li>`).join("")}</ul>
</header>
${summary}
${sections.map(renderSection).join("\n")}
<footer>${footer}</footer>
</main>
</body>
</html>
`;
}

function renderSection({ title, lead, figures = [], html = "" }: Section): string {
  const grid = figures.length === 0 ? "" : `<div class="grid">${figures.map(renderFigure).join("\n")}</div>`;
  const said = lead === undefined ? "" : `<p class="lead">${escapeHtml(lead)}</p>`;
  return `<section>
<h2>${escapeHtml(title)}</h2>
${said}
${grid}
${html}
</section>`;
}

function renderFigure({ id, title, caption, legend, svg, wide }: Figure): string {
  const key = legend.length === 0 ? "" : `<ul class="legend">${legend.map(legendItem).join("")}</ul>`;
  return `<figure id="${escapeHtml(id)}"${wide === true ? ' class="wide"' : ""}>
<h3>${escapeHtml(title)}</h3>
${key}
<div class="scroll">${svg}</div>
<figcaption>${escapeHtml(caption)}</figcaption>
</figure>`;
}

function legendItem({ label, colour, dash, mark }: LegendEntry): string {
  const swatch =
    mark === "line"
      ? `<svg width="22" height="10" aria-hidden="true"><line x1="1" x2="21" y1="5" y2="5" stroke="${colour}" stroke-width="2.5"${dash === null ? "" : ` stroke-dasharray="${dash}"`}/></svg>`
      : `<svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" rx="2" fill="${colour}"/></svg>`;
  return `<li>${swatch}${escapeHtml(label)}</li>`;
}

/** What stands out in a table. */
export interface Strong {
  readonly strong: string;
}

export interface HtmlTable {
  readonly caption?: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly (string | Strong)[])[];
  /** Columns from here on are numbers and stand to the right. */
  readonly numbersFrom?: number;
}

export function renderTable({ caption, head, rows, numbersFrom = 1 }: HtmlTable): string {
  const shown = (cell: string | Strong) =>
    typeof cell === "string" ? escapeHtml(cell) : `<b>${escapeHtml(cell.strong)}</b>`;
  const cells = (tag: "th" | "td", row: readonly (string | Strong)[]) =>
    row.map((cell, i) => `<${tag}${i >= numbersFrom ? ' class="n"' : ""}>${shown(cell)}</${tag}>`).join("");
  const body = rows.map((row) => `<tr>${cells("td", row)}</tr>`).join("\n");
  return `<div class="scroll"><table${head.length > 10 ? ' class="dense"' : ""}>${caption === undefined ? "" : `<caption>${escapeHtml(caption)}</caption>`}
<thead><tr>${cells("th", head)}</tr></thead>
<tbody>
${body}
</tbody></table></div>`;
}

/** Key figures as large numbers with a word under each. */
export const renderTiles = (
  tiles: readonly { readonly value: string; readonly label: string; readonly note?: string }[],
): string =>
  `<dl class="tiles">${tiles
    .map(
      ({ value, label, note }) =>
        `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd>${note === undefined ? "" : `<dd class="note">${escapeHtml(note)}</dd>`}</div>`,
    )
    .join("")}</dl>`;

export const renderNote = (text: string): string => `<p class="aside">${escapeHtml(text)}</p>`;

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --panel: #ffffff; --ink: #1b1f27; --muted: #667085; --rule: #dfe3e9; --accent: #3b5bdb;
  --s0: #3452c7; --s1: #0b8a83; --s2: #d9730d; --s3: #b5399c; --s4: #5b8c12; --s5: #8a5a2b; --s6: #6b7686; --s7: #c2255c;
  --counted: #2a9d74; --late: #e0a100; --dropped: #d1495b; --rejected: #7a62b8; --on-fill: #ffffff;
  --load0: #b8530a; --load1: #ea9a4f; --load2: #f7d9b8; --load3: #eceff3; --load4: #c3d4f5; --load5: #7699e6; --load6: #2f55c0;
  --load-ink: #ffffff;
  --depth0: #9db4ea; --depth1: #6c8ae0; --depth2: #3f60c9; --depth3: #1e3583;
  --held: #1c7d58; --failed: #b8293d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --panel: #1a1e26; --ink: #e6e9ef; --muted: #98a2b3; --rule: #313845; --accent: #91a7ff;
    --s0: #8ea6ff; --s1: #3fcabf; --s2: #ffa251; --s3: #ee86d6; --s4: #a5d65a; --s5: #d2a679; --s6: #aab4c3; --s7: #ff86a8;
    --counted: #3fb98b; --late: #e8b730; --dropped: #e4697a; --rejected: #a08be0; --on-fill: #0f1218;
    --load0: #f08a3c; --load1: #b5652a; --load2: #5e4229; --load3: #2a303b; --load4: #2c4273; --load5: #4468bd; --load6: #84a5ff;
    --load-ink: #0f1218;
    --depth0: #3c5296; --depth1: #5a78d0; --depth2: #87a1f2; --depth3: #c6d3ff;
    --held: #5fd3a5; --failed: #ff8a9a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -0.015em; margin: 0 0 10px; overflow-wrap: anywhere; }
h2 { font-size: 21px; letter-spacing: -0.01em; margin: 48px 0 4px; padding-top: 18px; border-top: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 12px; }
.eyebrow { color: var(--muted); font-size: 13px; letter-spacing: 0.06em; text-transform: uppercase; margin-bottom: 6px; }
.question { font-size: 18px; max-width: 46em; white-space: pre-line; }
.lead { color: var(--muted); max-width: 52em; margin-bottom: 16px; }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: 8px; margin: 0; padding: 0; }
.chips li { border: 1px solid var(--rule); border-radius: 999px; background: var(--panel); padding: 2px 12px; font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 24px 0; }
.tiles div { background: var(--panel); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 16px; }
.tiles dt { color: var(--muted); font-size: 13px; }
.tiles dd { margin: 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dd.note { font-size: 13px; font-weight: 400; color: var(--muted); }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-top: 16px; grid-auto-flow: dense; }
figure, .panel { margin: 0; min-width: 0; background: var(--panel); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.panel { margin-top: 16px; }
.panel .lead { font-size: 14px; max-width: 68em; margin: 10px 0 0; }
figure.wide { grid-column: 1 / -1; }
figcaption { color: var(--muted); font-size: 14px; margin-top: 8px; max-width: 68em; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 6px; padding: 0; font-size: 13px; color: var(--ink); }
.legend li { display: inline-flex; align-items: center; gap: 6px; }
.scroll { overflow-x: auto; }
.plot { display: block; width: 100%; height: auto; overflow: visible; --plot-background: var(--panel);
  font-family: inherit; font-variant-numeric: tabular-nums; }
.plot text { white-space: pre; }
.plot .end-label { font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; font-size: 15px; padding-bottom: 6px; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--muted); font-weight: 500; font-size: 13px; }
tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; padding-right: 0; padding-left: 14px; }
.dense { font-size: 12.5px; } .dense th { font-size: 12px; } .dense .n { padding-left: 9px; }
.claims { list-style: none; margin: 0; padding: 0; }
.claims li { padding: 5px 0 5px 26px; position: relative; }
.claims li::before { position: absolute; left: 2px; font-weight: 700; }
.claims .held::before { content: "✓"; color: var(--held); }
.claims .failed::before { content: "✗"; color: var(--failed); }
.claims b { font-weight: 600; }
.claims .failed b { color: var(--failed); }
.claims span { color: var(--muted); }
.pictures { list-style: none; display: flex; flex-wrap: wrap; gap: 14px; margin: 16px 0 0; padding: 0; }
.pictures li { text-align: center; font-size: 13px; color: var(--muted); }
.pictures img { image-rendering: pixelated; display: inline-block; margin: 0 2px; border: 1px solid var(--rule); }
.pictures span { display: block; }
.aside { color: var(--muted); border-left: 3px solid var(--rule); padding: 2px 0 2px 14px; margin: 16px 0 0; max-width: 60em; }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--page); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; overflow-x: auto; margin: 6px 0; }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--muted); }
footer { margin-top: 48px; color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
@media screen and (max-width: 900px) { .grid { grid-template-columns: minmax(0, 1fr); } .wide .plot { min-width: 960px; } h1 { font-size: 27px; } }
@media screen and (max-width: 600px) { main { padding: 24px 12px 48px; } figure, .panel { padding: 14px 12px; } }
@media print {
  :root { --page: #fff; } main { max-width: none; padding: 0; } body { font-size: 12px; } .grid { gap: 10px; } figure, .panel { padding: 10px 12px; }
  .tiles dd { font-size: 18px; } table, .claims { font-size: 11px; } th, td { padding: 3px 8px 3px 0; } .n { padding-left: 6px; padding-right: 0; } h2 { margin-top: 24px; }
  figure, .panel, .tiles div, table { break-inside: avoid; } h2 { break-after: avoid; } .scroll { overflow: visible; }
}
`;
