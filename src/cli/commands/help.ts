/** `flame help scenario [field]`: every field of a scenario, from its schema. Of commands, `--help` says the same. */
import type { Command } from "commander";
import { ScenarioError } from "../../base/errors.ts";
import { nearest } from "../../base/spelling.ts";
import { colors } from "../screen/colors.ts";
import { type Field, fieldAt, fieldsOf } from "../screen/schema-fields.ts";
import { terminal, wrapped } from "../screen/terminal.ts";

export function help(program: Command, subject: string | undefined, field: string | undefined): void {
  const command = subject === undefined ? program : program.commands.find((one) => one.name() === subject);
  if (command !== undefined) {
    command.outputHelp();
    return;
  }
  if (subject === "scenario") {
    terminal.out.write(scenarioHelp(field));
    return;
  }
  const names = [...program.commands.map((one) => one.name()), "scenario"];
  const near = nearest(subject!, names);
  throw new ScenarioError(
    `there is no command ${subject}${near === undefined ? "" : `; did you mean ${near}?`}\n  expected one of ${names.join(", ")}`,
  );
}

function scenarioHelp(path: string | undefined): string {
  const shape = fieldAt(path === undefined ? [] : path.split("."));
  const forms = fieldsOf(shape);
  const lines = forms.flatMap(({ title, about, fields }) => [
    ...(title === "" ? [] : [wrapped(about === "" ? colors.bold(title) : `${colors.bold(title)}, ${about}`, 2)]),
    ...fields.flatMap(linesOf(Math.max(0, ...fields.map(({ name }) => name.length)) + 2)),
    "",
  ]);
  const isOne = forms.every(({ fields }) => fields.every(({ name }) => name === ""));
  const { description } = shape;
  if (description !== undefined && !isOne) lines.unshift(wrapped(`${description}:`), "");
  const more =
    path === undefined
      ? `${wrapped("flame help scenario rounds says more of a field; times are milliseconds, links bytes a second")}\n`
      : "";
  return `${lines.join("\n")}${more}`;
}

/** What a field may be, and under it what it is for. */
const linesOf =
  (width: number) =>
  ({ name, values, usual, isNeeded, about }: Field): string[] => {
    const facts = [
      values,
      ...(usual === undefined ? [] : [`default ${usual}`]),
      ...(isNeeded ? ["must be given"] : []),
    ].join("; ");
    const said = about === "" ? [] : [wrapped(`${" ".repeat(width + 2)}${about}`, width + 2)];
    return [wrapped(`  ${name.padEnd(width)}${facts}`, width + 2), ...said];
  };
