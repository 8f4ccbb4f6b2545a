/**
 * Generated instructions: families take turns, and example n of a family depends on the seed and n alone, so a longer
 * list begins with the shorter one. No question occurs twice, in whichever wording.
 */
import { ScenarioError } from "../base/errors.ts";
import { Rng } from "../base/random.ts";
import type { Example } from "./example.ts";
import { FAMILIES, type Family } from "./families.ts";

export interface GenerateOptions {
  readonly examples: number;
  readonly seed: number;
  /** Names out of `FAMILY_NAMES`; all eight by default. */
  readonly families?: readonly string[] | undefined;
}

export function generateExamples({ examples, seed, families: names }: GenerateOptions): Example[] {
  const families = names === undefined ? FAMILIES : FAMILIES.filter(({ name }) => names.includes(name));
  const perFamily = Math.ceil(examples / families.length);
  for (const { name, capacity } of families) {
    // Rejection finds the last few unseen questions slowly, so four fifths of a family are on offer.
    const most = Math.floor(capacity * 0.8);
    if (perFamily > most) {
      throw new ScenarioError(
        `data.source.examples is ${examples}, which asks family "${name}" for ${perFamily} distinct examples, ` +
          `expected at most ${most * families.length} examples (${most} of that family)`,
      );
    }
  }
  const rng = new Rng(seed);
  const streams = families.map((family) => distinctTasks(family, rng));
  const list: Example[] = [];
  for (let at = 0; at < examples; at++) list.push(streams[at % families.length]!.next().value);
  return list;
}

function* distinctTasks(family: Family, rng: Rng): Generator<Example, never> {
  const lane = rng.at(`instructions ${family.name}`);
  const seen = new Set<string>();
  for (let attempt = 0; ; attempt++) {
    const task = family.draw(lane.at(attempt));
    // Input and answer together name the question apart from its wording: a count or a lookup is told by its answer.
    const question = `${task.input}\n${task.response}`;
    if (seen.has(question)) continue;
    seen.add(question);
    yield { ...task, category: family.name };
  }
}
