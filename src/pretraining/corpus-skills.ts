/**
 * Skills that the pre-training corpus drills: what the instruction families ask for and more, but in other words,
 * other layouts. Fine-tuning then has a format and wordings to teach, and can build
 * on copying, alphabet, addition and look-up, which a LoRA on experts could hardly add to a model that lacks them.
 */
import type { Draws } from "../base/random.ts";
import { ALPHABET, capitals, distinctLetters, letters, pick, reversed, sorted, word } from "../data/text.ts";

/** One drill: what to do, with what, and the result. */
export interface Drill {
  readonly cue: string;
  readonly data: string;
  readonly answer: string;
}

interface Skill {
  /** How often it is drawn, against the others. */
  readonly weight: number;
  readonly draw: (draws: Draws) => Drill;
}

const drill = (draws: Draws, cues: readonly string[], data: string, answer: string): Drill => ({
  cue: pick(cues, draws),
  data,
  answer,
});

const shift = (text: string, by: number): string =>
  [...text].map((letter) => ALPHABET[(ALPHABET.indexOf(letter) + by + 26) % 26]).join("");

const SKILLS: Readonly<Record<string, Skill>> = {
  copy: {
    weight: 2,
    draw(draws) {
      const text = word(draws, 3 + draws.below(5));
      return drill(draws, ["same", "echo", "again"], text, text);
    },
  },
  twice: {
    weight: 1,
    draw(draws) {
      const text = word(draws, 2 + draws.below(3));
      return drill(draws, ["twice", "double"], text, text + text);
    },
  },
  reverse: {
    weight: 4,
    draw(draws) {
      const text = draws.bernoulli(0.7) ? word(draws, 3 + draws.below(4)) : letters(draws, 3 + draws.below(3));
      return drill(draws, ["rev", "mirror", "flip", "right to left"], text, reversed(text));
    },
  },
  sort: {
    weight: 5,
    draw(draws) {
      const text = distinctLetters(draws, 3 + draws.below(3));
      return drill(draws, ["abc", "arrange", "from a to z"], text, sorted(text));
    },
  },
  sortDown: {
    weight: 1,
    draw(draws) {
      const text = distinctLetters(draws, 3 + draws.below(2));
      return drill(draws, ["zyx", "from z to a"], text, reversed(sorted(text)));
    },
  },
  sortDigits: {
    weight: 1,
    draw(draws) {
      const text = draws.sample(10, 3 + draws.below(3)).join("");
      return drill(draws, ["rising", "low to high"], text, sorted(text));
    },
  },
  add: {
    weight: 8,
    draw(draws) {
      const [a, b] = draws.bernoulli(0.2) ? [draws.below(10), draws.below(10)] : [draws.below(100), draws.below(100)];
      return drill(
        draws,
        ["plus", "total", "both together"],
        `${a}${pick(["+", " ", ", ", " + "], draws)}${b}`,
        `${a + b}`,
      );
    },
  },
  subtract: {
    weight: 2,
    draw(draws) {
      const b = draws.below(100);
      const a = b + draws.below(100 - b);
      return drill(draws, ["minus", "less"], `${a}${pick(["-", " ", " - "], draws)}${b}`, `${a - b}`);
    },
  },
  tally: {
    weight: 6,
    draw(draws) {
      const letter = letters(draws, 1);
      const others = letters(draws, 3).replaceAll(letter, "");
      const row = [
        ...letter.repeat(draws.below(5)),
        ...Array.from({ length: 1 + draws.below(4) }, () => pick([...others, letter], draws)),
      ];
      const text = draws.shuffle(row).join("");
      const count = text.split(letter).length - 1;
      return drill(draws, [`tally ${letter}`, `number of ${letter} in`, `${letter}s in`], text, `${count}`);
    },
  },
  lookUp: {
    weight: 6,
    draw(draws) {
      const keys = [...distinctLetters(draws, 2 + draws.below(3))];
      const numbers = draws.bernoulli(0.7);
      const values = keys.map(() => (numbers ? String(10 + draws.below(90)) : word(draws, 2 + draws.below(2))));
      const asked = draws.below(keys.length);
      const [inner, outer] = pick(
        [
          [":", " "],
          [" ", ", "],
          ["-", " "],
          [" is ", "; "],
          [":", ","],
        ] as const,
        draws,
      );
      const data = keys.map((key, at) => `${key}${inner}${values[at]}`).join(outer);
      const key = keys[asked]!;
      return drill(draws, [`find ${key}`, `look up ${key}`, `${key} in`], data, values[asked]!);
    },
  },
  upper: {
    weight: 3,
    draw(draws) {
      const text = word(draws, 3 + draws.below(4));
      return drill(draws, ["upper", "shout", "big"], text, capitals(text));
    },
  },
  lower: {
    weight: 3,
    draw(draws) {
      const text = word(draws, 3 + draws.below(4));
      return drill(draws, ["lower", "whisper", "tiny"], capitals(text), text);
    },
  },
  outer: {
    weight: 3,
    draw(draws) {
      const text = word(draws, 3 + draws.below(5));
      return drill(draws, ["outer", "edges", "head and tail"], text, text[0]! + text.at(-1)!);
    },
  },
  first: {
    weight: 1,
    draw(draws) {
      const text = word(draws, 3 + draws.below(4));
      return drill(draws, ["head", "start of"], text, text[0]!);
    },
  },
  last: {
    weight: 1,
    draw(draws) {
      const text = word(draws, 3 + draws.below(4));
      return drill(draws, ["tail", "finish of"], text, text.at(-1)!);
    },
  },
  up: {
    weight: 4,
    draw(draws) {
      const text = letters(draws, 1 + draws.below(5), ALPHABET.slice(0, -1));
      return drill(draws, ["succ", "after", "step up"], text, shift(text, 1));
    },
  },
  down: {
    weight: 1,
    draw(draws) {
      const text = letters(draws, 1 + draws.below(4), ALPHABET.slice(1));
      return drill(draws, ["pred", "step down"], text, shift(text, -1));
    },
  },
  length: {
    weight: 1,
    draw(draws) {
      const text = letters(draws, 1 + draws.below(8));
      return drill(draws, ["length", "size of"], text, `${text.length}`);
    },
  },
  largest: {
    weight: 1,
    draw(draws) {
      const digits = draws.sample(10, 3 + draws.below(2));
      return drill(draws, ["max", "top of"], digits.join(" "), `${Math.max(...digits)}`);
    },
  },
  vowels: {
    weight: 1,
    draw(draws) {
      const text = word(draws, 4 + draws.below(3));
      return drill(draws, ["no vowels", "drop aeiou"], text, text.replace(/[aeiou]/g, "") || "-");
    },
  },
};

const SKILL_NAMES: readonly string[] = Object.keys(SKILLS);

/** Skills that no instruction family rests on. */
export const UNASKED_SKILLS: readonly string[] = [
  "copy",
  "twice",
  "sortDown",
  "subtract",
  "length",
  "largest",
  "vowels",
];

const WEIGHT = Object.values(SKILLS).reduce((sum, { weight }) => sum + weight, 0);

/** The name of a skill, drawn by weight. */
export function drawSkill(draws: Draws): string {
  let left = draws.below(WEIGHT);
  return SKILL_NAMES.find((name) => {
    left -= SKILLS[name]!.weight;
    return left < 0;
  })!;
}

export const drawDrill = (skill: string, draws: Draws): Drill => SKILLS[skill]!.draw(draws);
