/** Plain text of the pre-training corpus: little stories and facts from a grammar, all in words of our own. */
import type { Draws } from "../base/random.ts";
import { ALPHABET, pick } from "../data/text.ts";

interface Person {
  readonly name: string;
  readonly they: string;
  readonly their: string;
}

const she = (name: string): Person => ({ name, they: "She", their: "her" });
const he = (name: string): Person => ({ name, they: "He", their: "his" });

const PEOPLE = [
  she("Mia"),
  she("Anna"),
  she("Lily"),
  she("Rosa"),
  she("Nora"),
  he("Tom"),
  he("Ben"),
  he("Sam"),
  he("Max"),
  he("Leo"),
];
const COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown"];
const THINGS = ["ball", "kite", "box", "hat", "book", "boat", "drum", "lamp", "cup", "bike"];
const FRUITS = ["apple", "pear", "plum", "nut", "shell", "coin", "stone", "card"];
const PLACES = ["garden", "park", "house", "school", "river", "hill", "forest", "market", "beach", "farm"];
const MOODS = ["happy", "sad", "tired", "proud", "hungry", "calm", "brave", "shy"];
const ADVERBS = ["slowly", "quickly", "often", "again", "alone", "at night", "in the morning", "all day"];
const ANIMALS = [
  { name: "cat", sound: "meow", food: "fish" },
  { name: "dog", sound: "woof", food: "meat" },
  { name: "cow", sound: "moo", food: "grass" },
  { name: "duck", sound: "quack", food: "bread" },
  { name: "sheep", sound: "baa", food: "grass" },
  { name: "mouse", sound: "squeak", food: "cheese" },
  { name: "owl", sound: "hoo", food: "mice" },
  { name: "bee", sound: "buzz", food: "honey" },
];
const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS = [
  "january",
  "february",
  "march",
  "april",
  "may",
  "june",
  "july",
  "august",
  "september",
  "october",
  "november",
  "december",
];

const PIECES: readonly ((draws: Draws) => string)[] = [
  findsThing,
  walksAnimal,
  countsThings,
  statesFacts,
  tellsTime,
  recites,
];

export const drawStory = (draws: Draws): string => pick(PIECES, draws)(draws);

function findsThing(draws: Draws): string {
  const { name, they, their } = pick(PEOPLE, draws);
  const [colour, thing, place] = [pick(COLOURS, draws), pick(THINGS, draws), pick(PLACES, draws)];
  const lines = [
    `${name} has a ${colour} ${thing}.`,
    `${they} takes the ${thing} to the ${place}.`,
    pick([`The ${thing} is lost.`, `The ${thing} falls down.`, `A friend wants the ${thing}.`], draws),
    pick(
      [`${they} looks for ${their} ${thing} ${pick(ADVERBS, draws)}.`, `Now ${name} is ${pick(MOODS, draws)}.`],
      draws,
    ),
    `${name} is ${pick(MOODS, draws)} because of the ${colour} ${thing}.`,
  ];
  return lines.slice(0, 2 + draws.below(4)).join(" ");
}

function walksAnimal(draws: Draws): string {
  const { name, they } = pick(PEOPLE, draws);
  const { name: animal, sound, food } = pick(ANIMALS, draws);
  const place = pick(PLACES, draws);
  const lines = [
    `${name} sees a ${pick(MOODS, draws)} ${animal} near the ${place}.`,
    `The ${animal} says ${sound}.`,
    `${they} gives the ${animal} some ${food}.`,
    `The ${animal} likes ${food} and stays at the ${place}.`,
  ];
  return lines.slice(0, 2 + draws.below(3)).join(" ");
}

function countsThings(draws: Draws): string {
  const { name, they } = pick(PEOPLE, draws);
  const fruit = pick(FRUITS, draws);
  const [had, change] = [2 + draws.below(40), 2 + draws.below(30)];
  if (draws.bernoulli(0.6)) {
    return `${name} had ${had} ${fruit}s. ${they} found ${change} more. Now ${name} has ${had + change} ${fruit}s.`;
  }
  return `${name} had ${had + change} ${fruit}s. ${they} lost ${change}. Now ${name} has ${had} ${fruit}s.`;
}

function statesFacts(draws: Draws): string {
  const facts = draws.sample(ANIMALS.length, 1 + draws.below(3)).map((at) => {
    const { name, sound, food } = ANIMALS[at]!;
    return draws.bernoulli(0.5) ? `A ${name} says ${sound}.` : `A ${name} eats ${food}.`;
  });
  return facts.join(" ");
}

function tellsTime(draws: Draws): string {
  const names = draws.bernoulli(0.5) ? DAYS : MONTHS;
  const at = draws.below(names.length);
  const [today, tomorrow] = [names[at]!, names[(at + 1) % names.length]!];
  return pick(
    [`After ${today} comes ${tomorrow}.`, `Before ${tomorrow} comes ${today}.`, `${today}, ${tomorrow}`],
    draws,
  );
}

/** Stretches of the alphabet, of the numbers, and of sums. */
function recites(draws: Draws): string {
  const count = 4 + draws.below(6);
  const gap = pick([" ", "", ", "], draws);
  if (draws.bernoulli(0.4)) {
    const from = draws.below(26 - count);
    const row = [...ALPHABET.slice(from, from + count)];
    return (draws.bernoulli(0.3) ? row.map((letter) => letter + letter.toUpperCase()) : row).join(gap);
  }
  const from = draws.below(90);
  if (draws.bernoulli(0.5)) return Array.from({ length: count }, (_, at) => from + at).join(gap === "" ? " " : gap);
  const added = draws.below(100);
  return Array.from({ length: Math.min(count, 6) }, (_, at) => `${from + at}+${added}=${from + at + added}`).join("\n");
}
