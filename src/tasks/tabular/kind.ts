/** A table as a task of a run. */
import { columnOf } from "../../data/partition.ts";
import { isTableSource, loadTable } from "../../data/tables/source.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { TaskKind } from "../kind.ts";
import { openRows } from "../rows.ts";
import { requireSource } from "../sources.ts";
import { type TabularOptions, tabularTask } from "./task.ts";

export const tabular: TaskKind<unknown, TabularOptions> = {
  make: (options) => tabularTask(options),
  async open(_fields, { name, data: { source, partition } }) {
    const learns = "tabular learns rows of a table; expected table(name), csv(path) or records([…])";
    const table = loadTable(requireSource(source, isTableSource, name, learns), columnOf(partition));
    const { features, categoryNames: classes } = table;
    const options = { features: features.length, classes: classes.length };
    return openRows({
      type: "tabular",
      task: tabularTask(options),
      options,
      source: table,
      data: () => table,
      budgetProblem: (budget) => (budget > 1 ? "every client trains the whole model, which is 1" : null),
      // A row of weights for each class, its bias last, and beside it what they are weights of.
      ...storedAs({
        file: "tabular_model.safetensors",
        tensors: [{ name: "weights", shape: [classes.length, features.length + 1], start: 0 }],
        size: classes.length * (features.length + 1),
        about: { file: "tabular_config.json", content: { classes, features } },
      }),
    });
  },
};
