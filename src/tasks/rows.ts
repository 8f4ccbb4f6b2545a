/** What tasks on rows of numbers have in common: images, views, lines of a table. */
import { sha256 } from "../base/digest.ts";
import type { Examples, RowData } from "../data/examples.ts";
import type { Graph } from "../tensor/graph/graph.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import { cast, mul, reduceSum } from "../tensor/ops/arithmetic.ts";
import { integerDivide, less } from "../tensor/ops/discrete.ts";
import { gatherRows } from "../tensor/ops/index-ops.ts";
import { reshape } from "../tensor/ops/layout.ts";
import { crossEntropy } from "../tensor/ops/nn.ts";
import type { TaskType } from "./facts.ts";
import type { OpenedTask } from "./kind.ts";
import type { BatchShape, Pass, Task, TaskShape } from "./task.ts";

type Own = Pick<OpenedTask, "save" | "read" | "budgetProblem"> &
  Partial<
    Pick<OpenedTask, "problems" | "layout" | "members" | "layers" | "experts" | "initial" | "pictures" | "digest">
  >;

interface RowTask extends Own {
  readonly type: TaskType;
  readonly task: Task;
  /** What workers make it from. */
  readonly options: unknown;
  readonly shape?: TaskShape;
  /** What was read, of which `data` makes the examples. */
  readonly source: Pick<Examples, "digest" | "notes">;
  data(): RowData;
}

/** A task that begins with nothing on disk: all of its parameters travel, and its options are all that it depends on. */
export function openRows({ type, task, options, shape = {}, source, data, ...own }: RowTask): OpenedTask {
  const { layout = task.layout, digest = sha256(JSON.stringify(options)) } = own;
  return {
    type,
    task,
    layout,
    members: 1,
    layers: 0,
    experts: 0,
    bytes: { download: 4 * layout.size, upload: 4 * layout.size },
    digest,
    initial: (rng) => task.initial(rng, 0),
    problems: [],
    load: async () => ({
      data: data(),
      length: 1,
      notes: source.notes,
      read: { data: source.digest, tokenizer: null, template: null },
    }),
    spec: async () => ({ spec: { type, options, shape, weights: null }, digest }),
    ...own,
  };
}

/**
 * Rows of numbers with a label each.
 *
 * @param trains whether each group does
 * @param predict `[rows, width]` to `[rows, classes]`, by the gains of a norm where there are several
 */
export function labelledRows(
  graph: Graph,
  width: number,
  { clients, rows }: BatchShape,
  trains: readonly boolean[],
  predict: (x: Tensor, norm?: number) => Tensor,
): Pass {
  const all = clients * rows;
  const x = graph.input("x", "float32", [all, width]);
  const padding = graph.input("padding", "int32", [all]);
  const labelled = graph.symbol("labelled");
  const positions = graph.input("positions", "int32", [labelled]);
  const targets = graph.input("targets", "int32", [labelled]);
  // A row without an image has no target.
  const logits = gatherRows(predict(x), positions);
  const present = () => less(cast(padding, "float32"), graph.constant([0.5], [1]));
  return {
    batch: { x, padding, positions, targets },
    losses: crossEntropy(logits, targets),
    client: () => integerDivide(positions, rows),
    example: () => positions,
    logits,
    again: (other, norm) => gatherRows(predict(other, norm), positions),
    present,
    counts: countsOf(reshape(present(), [clients, rows]), trains),
  };
}

/** Rows of each client, for every group that trains, `[groups · clients]` int64. */
function countsOf(present: Tensor, trains: readonly boolean[]): Tensor {
  const { graph } = present.node;
  const filled = cast(reduceSum(present, [1]), "int64");
  const [clients, groups] = [filled.shape[0] as number, trains.length];
  const each = mul(graph.constant(trains.map(Number), [groups, 1], "int64"), reshape(filled, [1, clients]));
  return reshape(each, [groups * clients]);
}
