/**
 * Generated instructions: families take turns, and example n of a family depends on the seed and n alone, so a longer
 * list begins with the shorter one. No question occurs twice, in whichever wording.
 */
import { ScenarioError } from "../base/errors.ts";
import { type Draws, Rng } from "../base/random.ts";
import type { Example } from "./example.ts";
import { FAMILIES, type Family } from "./families.ts";
import { letters, pick } from "./text.ts";

export interface GenerateOptions {
  readonly examples: number;
  readonly seed: number;
  /** Names out of `FAMILY_NAMES`; all eight by default. */
  readonly families?: readonly string[] | undefined;
  /** Shares of an instruction's characters that are mistyped, by level; levels are as likely, and categories. */
  readonly typos?: Readonly<Record<string, number>> | undefined;
}

export function generateExamples({ examples, seed, families: names, typos }: GenerateOptions): Example[] {
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
  return typos === undefined ? list : list.map((example, at) => hasty(example, typos, rng.at("typos").at(at)));
}

/** Its input is what the answer is about, and stays. */
function hasty(example: Example, typos: Readonly<Record<string, number>>, draws: Draws): Example {
  const category = pick(Object.keys(typos), draws);
  return { ...example, category, instruction: mistyped(example.instruction, typos[category]!, draws) };
}

/** One character in so many is another letter, changes places with the next one, or is missing, each as likely. */
function mistyped(text: string, share: number, draws: Draws): string {
  const typed = [...text];
  for (let at = 0; at < text.length; at++) {
    if (!draws.bernoulli(share)) continue;
    const slip = draws.below(3);
    if (slip === 0) typed[at] = letters(draws, 1);
    else if (slip === 1 && at + 1 < text.length) [typed[at], typed[at + 1]] = [typed[at + 1]!, typed[at]!];
    else typed[at] = "";
  }
  return typed.join("");
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
