/** Run folder → `report.html`: one file that a person opens, reads and prints. The same run gives the same bytes. */

import { join } from "node:path";
import { writeAtomically } from "../base/disk.ts";
import { formatBytes, formatTime } from "../base/units.ts";
import { divergenceOf } from "../records/metrics.ts";
import { playedRounds, totalsOf } from "../records/totals.ts";
import { type Palette, paletteOf } from "./colours.ts";
import { activationFigures, weightFigures } from "./experts.ts";
import { fleetFigures } from "./fleet.ts";
import { learningFigures } from "./learning.ts";
import { nats, shareOf, whole, written } from "./numbers.ts";
import { escapeHtml, renderNote, renderPage, renderTable, renderTiles, type Section } from "./page.ts";
import { pictureSections } from "./pictures.ts";
import { hasParticipations, type RunRecord, readParticipations, readRun } from "./run-folder.ts";
import {
  budgetChanges,
  budgetColumns,
  budgetRows,
  CLIENT_COLUMNS,
  clientRows,
  FAIRNESS_COLUMNS,
  fairnessRows,
  samplingError,
  TIER_COLUMNS,
  tierRows,
} from "./summary.ts";
import { lossRows, type ParticipationSummary, stageTable, summarise, trackFigures } from "./tracks.ts";

/**
 * Reads the run folder and writes `report.html` into it.
 *
 * @returns the path of the report
 * @throws InputError when a file of the run is missing or damaged, with its name and line
 */
export function writeReport(folder: string): string {
  const run = readRun(folder);
  const participations = hasParticipations(folder) ? summarise(readParticipations(folder)) : null;
  const path = join(folder, "report.html");
  writeAtomically(path, renderReport(run, participations));
  return path;
}

export function renderReport(run: RunRecord, participations: ParticipationSummary | null): string {
  const palette = paletteOf(run);
  const { seed, strategy, clients, tiers } = run;
  return renderPage({
    title: run.name,
    eyebrow: "flame-sim · report of a run",
    question: run.question,
    chips: [
      strategy,
      `${whole(clients)} clients in ${tiers.length === 1 ? "one tier" : `${tiers.length} tiers`}`,
      `seed ${seed}`,
      ...(isTimingOnly(run) ? ["timing only"] : []),
    ],
    summary: summary(run),
    sections: [
      ...learning(run, palette),
      ...pictureSections(run.pictures),
      ...participation(run, palette, participations),
      ...experts(run, palette),
      about(run),
    ],
    footer: `${run.digest === null ? "" : `Trace digest <code>${escapeHtml(run.digest)}</code>. `}Times are virtual: they come from the simulated fleet and are the same on every machine.`,
  });
}

const isTimingOnly = ({ rounds }: RunRecord): boolean =>
  rounds.every(
    ({ evaluations, activation, trainLoss }) => evaluations.length + activation.length === 0 && trainLoss === null,
  );

function summary(run: RunRecord): string {
  const totals = totalsOf(run.rounds);
  const changes = budgetChanges(run.rounds);
  const best = changes[0];
  const { budget, metrics } = run.task;
  const { symbol } = budget;
  const metric = metrics[0];
  const untouched = totals.rounds - totals.aggregated;
  const tiles = [
    {
      value: whole(totals.rounds),
      label: "rounds",
      note: untouched === 0 ? "all aggregated" : `${whole(untouched)} left the adapter untouched`,
    },
    { value: formatTime(totals.virtualTime), label: "virtual time" },
    {
      value: shareOf(totals.counted, totals.invited),
      label: "invitations counted",
      note: `${whole(totals.counted)} of ${whole(totals.invited)}`,
    },
    {
      value: whole(totals.distinctClients),
      label: "clients heard",
      note: `of ${whole(run.clients)}`,
    },
    {
      value: formatBytes(totals.downloadBytes + totals.uploadBytes),
      label: "sent",
      note: `${formatBytes(totals.uploadBytes)} of it up`,
    },
    ...(best === undefined
      ? []
      : [
          {
            value: nats(best.last.loss),
            label: `held-out loss, ${symbol} = ${best.budget}`,
            note: `base model ${nats(best.first.loss)}`,
          },
          {
            value: written(metric, best.last),
            label: `${metric.title}, ${symbol} = ${best.budget}`,
            note: [samplingError(metric, best.last, run.heldOut), `base model ${written(metric, best.first)}`]
              .filter((text) => text !== "")
              .join("; "),
          },
        ]),
  ];
  const budgets =
    changes.length === 0
      ? ""
      : `<div class="panel">${renderTable({ caption: "Held-out results by budget", head: budgetColumns(run.task), rows: budgetRows(changes, run.task) })}</div>`;
  const own = clientRows(run);
  const clients =
    own.length === 0
      ? ""
      : `<div class="panel">${renderTable({ caption: "Clients' own models, on examples that each keeps from training", head: CLIENT_COLUMNS, rows: own })}</div>`;
  const served = fairnessRows(run);
  const fairness =
    served.length === 0
      ? ""
      : `<div class="panel">${renderTable({ caption: "How evenly the last model serves the clients", head: FAIRNESS_COLUMNS, rows: served })}</div>`;
  return `${renderTiles(tiles)}${divergence(run)}${claims(run)}${budgets}${clients}${fairness}`;
}

function divergence({ rounds }: RunRecord): string {
  const found = divergenceOf(rounds);
  return found === null ? "" : renderNote(`The model diverged: after round ${found.round} ${found.found}.`);
}

function claims({ expectations }: RunRecord): string {
  if (expectations.length === 0) return "";
  const held = expectations.filter((claim) => claim.held).length;
  const items = expectations.map(
    (claim) =>
      `<li class="${claim.held ? "held" : "failed"}"><b>${escapeHtml(claim.name)}</b> ${claim.held ? "held" : "did not hold"}${
        claim.detail === "" ? "" : ` <span>– ${escapeHtml(claim.detail)}</span>`
      }</li>`,
  );
  return `<div class="panel"><h3>What the scenario expects: ${held} of ${expectations.length} held</h3><ul class="claims">${items.join("")}</ul></div>`;
}

function learning(run: RunRecord, palette: Palette): Section[] {
  const title = "What the fleet learned";
  const figures = learningFigures(run, palette);
  if (figures.length > 0) return [{ title, figures }];
  const note = isTimingOnly(run)
    ? "This run simulated devices, network and round policy without training, so there is nothing learned to show: no loss, no accuracy, no expert activation."
    : "No round of this run was evaluated, so there are no held-out results to show.";
  return [{ title, html: renderNote(note) }];
}

function participation(run: RunRecord, palette: Palette, participations: ParticipationSummary | null): Section[] {
  const title = "Who took part";
  const rounds = playedRounds(run.rounds);
  if (rounds.length === 0) return [{ title, html: renderNote("The run ended before its first round closed.") }];
  const order = run.tiers.map(({ name }) => name);
  const tables = [table("Participations by tier", TIER_COLUMNS, tierRows(run))];
  if (participations !== null) {
    const { head, rows: times } = stageTable(participations, order);
    tables.push(table("Median virtual time of a completed stage", head, times));
    tables.push(table("Why invitations did not count", ["ending", ...order, "all"], lossRows(participations, order)));
  }
  const tracks =
    participations === null
      ? renderNote("The run folder has no participations.jsonl, so there are no client tracks to draw.")
      : "";
  return [
    {
      title,
      figures: [
        ...fleetFigures(rounds, palette, run.clients),
        ...(participations === null ? [] : trackFigures(participations, rounds, palette)),
      ],
      html: tracks + tables.join(""),
    },
  ];
}

const table = (caption: string, head: readonly string[], rows: readonly (readonly string[])[]): string =>
  rows.length === 0 ? "" : `<div class="panel">${renderTable({ caption, head, rows })}</div>`;

function experts(run: RunRecord, palette: Palette): Section[] {
  const rounds = playedRounds(run.rounds);
  const figures = [...activationFigures(rounds), ...weightFigures(rounds, palette)];
  return figures.length === 0 ? [] : [{ title: "Experts and weights", figures }];
}

function about({ scenario, continuedDespite, reproduce }: RunRecord): Section {
  return {
    title: "About this run",
    html: `${continuedDespite.map((what) => `<p>Continued although ${escapeHtml(what)}.</p>`).join("\n")}
<p>Reproduce, in the run's folder:</p><pre>${escapeHtml(reproduce)}</pre>
<details><summary>The resolved scenario</summary><pre>${escapeHtml(JSON.stringify(scenario, null, 2).slice(0, 200_000))}</pre></details>`,
  };
}
