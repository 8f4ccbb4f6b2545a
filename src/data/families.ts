/**
 * The eight task families of generated instructions. Each has one exact answer of 1 to 8 characters, so accuracy
 * needs no judge, and each rests on a skill that the pre-training corpus shows in other words and another layout.
 */
import type { Draws } from "../base/random.ts";
import { ALPHABET, capitals, distinctLetters, letters, pick, reversed, sorted, word } from "./text.ts";

interface Task {
  readonly instruction: string;
  readonly input: string;
  readonly response: string;
}

export interface Family {
  readonly name: string;
  /** Distinct questions, at least; one question asked in two wordings counts once. */
  readonly capacity: number;
  /** Every instruction the family can give; none of them occurs in the pre-training corpus. */
  readonly wordings: readonly string[];
  readonly draw: (draws: Draws) => Task;
}

const addition: Family = {
  name: "addition",
  capacity: 10_000,
  wordings: ["Add the numbers.", "Give the sum."],
  draw(draws) {
    const [a, b] = [draws.below(100), draws.below(100)];
    return { instruction: pick(this.wordings, draws), input: `${a} and ${b}`, response: String(a + b) };
  },
};

const capitalising: Family = {
  name: "capitals",
  capacity: 400_000,
  wordings: ["Write in capital letters.", "Write in small letters."],
  draw(draws) {
    const up = draws.bernoulli(0.5);
    const text = word(draws, 3 + draws.below(4));
    return up
      ? { instruction: this.wordings[0]!, input: text, response: capitals(text) }
      : { instruction: this.wordings[1]!, input: capitals(text), response: text };
  },
};

const counting: Family = {
  name: "counting",
  capacity: 100_000,
  wordings: [...ALPHABET].flatMap((letter) => [`How many times is ${letter} used?`, `Count the letter ${letter}.`]),
  draw(draws) {
    const letter = letters(draws, 1);
    const wanted = draws.below(5);
    const others = [...distinctLetters(draws, 4)].filter((other) => other !== letter).slice(0, 3);
    const row = [...letter.repeat(wanted), ...Array.from({ length: 2 + draws.below(3) }, () => pick(others, draws))];
    const either = 2 * ALPHABET.indexOf(letter) + draws.below(2);
    const input = draws.shuffle(row).join("");
    return { instruction: this.wordings[either]!, input, response: String(wanted) };
  },
};

const ends: Family = {
  name: "ends",
  capacity: 400_000,
  wordings: ["Give the first and last letter.", "Keep only both end letters."],
  draw(draws) {
    const text = word(draws, 4 + draws.below(3));
    return { instruction: pick(this.wordings, draws), input: text, response: text[0]! + text.at(-1)! };
  },
};

const extraction: Family = {
  name: "extraction",
  capacity: 1_000_000,
  wordings: [...ALPHABET].flatMap((key) => [`Give the value of ${key}.`, `What does ${key} stand for?`]),
  draw(draws) {
    const keys = [...distinctLetters(draws, 3)];
    const values = keys.map(() => String(10 + draws.below(90)));
    const asked = draws.below(keys.length);
    const either = 2 * ALPHABET.indexOf(keys[asked]!) + draws.below(2);
    const input = keys.map((key, at) => `${key}=${values[at]}`).join(" ");
    return { instruction: this.wordings[either]!, input, response: values[asked]! };
  },
};

const reversal: Family = {
  name: "reversal",
  capacity: 100_000,
  wordings: ["Write it backwards.", "Spell it from the end."],
  draw(draws) {
    const text = word(draws, 3 + draws.below(3));
    return { instruction: pick(this.wordings, draws), input: text, response: reversed(text) };
  },
};

const sorting: Family = {
  name: "sorting",
  capacity: 100_000,
  wordings: ["Sort the letters.", "Put the letters in order."],
  draw(draws) {
    const text = distinctLetters(draws, 3 + draws.below(3));
    return { instruction: pick(this.wordings, draws), input: text, response: sorted(text) };
  },
};

const succession: Family = {
  name: "succession",
  capacity: 100_000,
  wordings: ["Replace each letter by the next.", "Move every letter one ahead."],
  draw(draws) {
    const text = letters(draws, 3 + draws.below(3), ALPHABET.slice(0, -1));
    const response = [...text].map((letter) => ALPHABET[ALPHABET.indexOf(letter) + 1]).join("");
    return { instruction: pick(this.wordings, draws), input: text, response };
  },
};

export const FAMILIES: readonly Family[] = [
  addition,
  capitalising,
  counting,
  ends,
  extraction,
  reversal,
  sorting,
  succession,
];

export const FAMILY_NAMES: readonly string[] = FAMILIES.map(({ name }) => name);
