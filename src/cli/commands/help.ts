/** `flame help scenario [field]`: every field of a scenario, from its schema. Of commands, `--help` says the same. */
import type { Command } from "commander";
import { ScenarioError } from "../../base/errors.ts";
import { nearest } from "../../base/spelling.ts";
import { scenarioSchema } from "../../scenario/schema.ts";
import { colors } from "../screen/colors.ts";
import { fieldAt, fieldsOf } from "../screen/schema-fields.ts";
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
  const schema = path === undefined ? fieldAt(scenarioSchema, []) : fieldAt(scenarioSchema, path.split("."));
  const forms = fieldsOf(schema);
  const lines = forms.flatMap(({ title, fields }) => {
    const width = Math.max(0, ...fields.map(({ name }) => name.length)) + 2;
    return [
      ...(title === "" ? [] : [colors.bold(title)]),
      ...fields.map(({ name, values, usual, isNeeded, about }) => {
        const facts = [
          values,
          ...(usual === undefined ? [] : [`default ${usual}`]),
          ...(isNeeded ? ["must be given"] : []),
          ...(about === "" ? [] : [about]),
        ];
        return wrapped(`  ${name.padEnd(width)}${facts.join("; ")}`, width + 2);
      }),
      "",
    ];
  });
  const more =
    path === undefined
      ? "flame help scenario rounds says more of a field; times are milliseconds, links bytes a second\n"
      : "";
  return `${lines.join("\n")}${more}`;
}
