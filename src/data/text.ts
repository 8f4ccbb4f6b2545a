/** Small words and letter rows that generated tasks and the pre-training corpus are made of. */
import type { Draws } from "../base/random.ts";

export const ALPHABET = "abcdefghijklmnopqrstuvwxyz";
const VOWELS = "aeiou";
const CONSONANTS = "bcdfghjklmnpqrstvwxyz";

export const pick = <Item>(items: readonly Item[], draws: Draws): Item => items[draws.below(items.length)]!;

/** `count` letters, each drawn on its own. */
export function letters(draws: Draws, count: number, from = ALPHABET): string {
  let row = "";
  for (let at = 0; at < count; at++) row += from[draws.below(from.length)];
  return row;
}

/** `count` different letters in random order. */
export const distinctLetters = (draws: Draws, count: number): string =>
  draws
    .sample(ALPHABET.length, count)
    .map((at) => ALPHABET[at])
    .join("");

/** A row of letters that can be spoken for the most part: vowels and consonants take turns, with slips. */
export function word(draws: Draws, length: number): string {
  let text = "";
  let vowel = draws.bernoulli(0.3);
  for (let at = 0; at < length; at++) {
    text += letters(draws, 1, vowel ? VOWELS : CONSONANTS);
    vowel = draws.bernoulli(0.15) ? vowel : !vowel;
  }
  return text;
}

export const reversed = (text: string): string => [...text].reverse().join("");
export const sorted = (text: string): string => [...text].sort().join("");
/** Upper case of the letters a–z, whatever the locale. */
export const capitals = (text: string): string => text.toUpperCase();
