/** `flame timeline <run>`: the clients of a run as tracks over virtual time. */
import { InputError } from "../../base/errors.ts";
import { openRunFolder } from "../../folder/run-folder.ts";
import { writeMachines } from "../../report/machines.ts";
import { writeReport } from "../../report/report.ts";
import { hasParticipations } from "../../report/run-folder.ts";
import { writeTimeline } from "../../report/timeline.ts";
import { colors } from "../screen/colors.ts";
import { terminal } from "../screen/terminal.ts";

export function timeline(path: string, { json }: { readonly json?: boolean }): void {
  const folder = openRunFolder(path);
  if (!hasParticipations(folder.path)) {
    throw new InputError(`${path} has no participations.jsonl: the run ended before anybody was invited`);
  }
  const tracks = writeTimeline(folder.path);
  const report = writeReport(folder.path);
  const machines = writeMachines(folder.path);
  if (json === true) {
    terminal.out.write(`${JSON.stringify({ timeline: tracks, report, machines })}\n`);
    return;
  }
  terminal.out.write(
    [
      `${colors.bold(tracks)}`,
      "  open https://ui.perfetto.dev and drop the file on it (it stays on your machine), or load it in chrome://tracing;",
      "  a process is a tier, a track a client, a slice a download, training or upload; process 0 is the server",
      `${colors.bold(report)}`,
      '  the same for the first rounds, under "Client tracks"',
      ...(machines === null
        ? []
        : [colors.bold(machines), "  which machine did what, over real time; a process is one"]),
      "",
    ].join("\n"),
  );
}
