/**
 * The tokenizer of bytes as Hugging Face folders have it, so that a folder with it can be read by whoever reads those:
 * `tokenizer.json` and `tokenizer_config.json` of a byte-level BPE without merges. Ids are those of {@link byteTokenizer}.
 */
import { byteTokenizer } from "../data/tokenizer.ts";

/** Name → text of each file. */
export function byteTokenizerFiles(): ReadonlyMap<string, string> {
  const specials = [...byteTokenizer.specials].map(([content, id]) => ({ id, content, ...verbatim }));
  const nameOf = (id: number) => specials.find((special) => special.id === id)!.content;
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials,
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(byteNames().map((name, byte) => [name, byte])),
      merges: [],
    },
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    eos_token: nameOf(byteTokenizer.end),
    pad_token: nameOf(byteTokenizer.pad),
    clean_up_tokenization_spaces: false,
  };
  const text = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;
  return new Map([
    ["tokenizer.json", text(tokenizer)],
    ["tokenizer_config.json", text(config)],
  ]);
}

const verbatim = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** GPT-2's letters for bytes: those that can be seen stand for themselves, the others for what comes after the 256. */
function byteNames(): string[] {
  const isSeen = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isSeen(byte) ? byte : next++));
}
