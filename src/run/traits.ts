/** What the labels of each client's data are, for availability that goes with them. A label is a category of examples. */
import { examplesOf, type Partition } from "../data/deal.ts";
import type { Examples } from "../data/examples.ts";
import type { DataTraits } from "../sim/availability/availability-data.ts";

/** Clients without examples count as having the first label. */
export function traitsOf({ category, categoryNames }: Examples, dealt: Partition): DataTraits {
  const { clients } = dealt;
  const traits = {
    labels: Math.max(1, categoryNames.length),
    minLabel: new Uint16Array(clients),
    maxLabel: new Uint16Array(clients),
    labelCount: new Uint16Array(clients),
  };
  for (let client = 0; client < clients; client++) {
    const own = new Set<number>();
    for (const example of examplesOf(dealt, client)) own.add(category[example]!);
    traits.minLabel[client] = own.size === 0 ? 0 : Math.min(...own);
    traits.maxLabel[client] = Math.max(0, ...own);
    traits.labelCount[client] = own.size;
  }
  return traits;
}
