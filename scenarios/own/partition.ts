/**
 * A partition of one's own: what does it cost when a third of the clinics see one kind of wine alone?
 *
 *   npx flame run own/partition
 *
 * The function is given what may be trained on, and says who holds what. Other ways: docs/data.md.
 */
import { type Deal, defineScenario, expectThat, lossFalls, partitionBy, table } from "flame-sim";

/** The first third of the clients share the first category; everything else goes to all others in turn. */
export const specialists: Deal = ({ examples, clients, draws }) => {
  const few = Math.max(1, Math.floor(clients / 3));
  const first = examples[0]!.category;
  const lists = Array.from({ length: clients }, (): number[] => []);
  const turns = { special: 0, general: 0 };
  for (const { index, category } of draws.shuffle([...examples])) {
    if (category === first) lists[turns.special++ % few]!.push(index);
    else lists[few + (turns.general++ % (clients - few))]!.push(index);
  }
  return lists;
};

export default defineScenario({
  name: "own-partition",
  question: "What does it cost when a third of the clinics see one kind alone?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("wine"), partition: partitionBy(specialists), heldOut: 0.25 },
  fleet: [{ name: "clinic", clients: 6, budget: 1, tokensPerSecond: 50, uplink: 1e5 }],
  rounds: { count: 6, cohort: 4 },
  training: { learningRate: 3e-2, epochs: 2 },
  strategy: { type: "fedavg" },
  evaluateEvery: 3,
  expect: [
    lossFalls({ by: 0.2 }),
    expectThat("every clinic is counted", ({ rows, clients }) => {
      const { distinctClients } = rows.at(-1)!;
      return { holds: distinctClients === clients, found: `${distinctClients} of ${clients}` };
    }),
  ],
});
