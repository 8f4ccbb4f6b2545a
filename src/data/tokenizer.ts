/** Text to token ids and back; what training needs to know of a tokenizer, whoever wrote it. */
export interface Tokenizer {
  readonly name: string;
  /** SHA-256 of the files it was read from; null for one that is code. */
  readonly digest: string | null;
  /** Rows of the embedding table it needs: every id is below this. */
  readonly vocabulary: number;
  /** Fills rows up; never carries loss. */
  readonly pad: number;
  /** Closes a response, and a document in pre-training. */
  readonly end: number;
  /** Tokens that only a prompt template may write, by name, such as `<response>`. */
  readonly specials: ReadonlyMap<string, number>;
  /** Plain text only: text that looks like a special token does not become one. */
  encode(text: string): Int32Array;
  /** Special tokens are left out; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>): string;
}

const PAD = 256;
const END = 257;

/**
 * The tokenizer of the embedded base model: ids 0…255 are the bytes of UTF-8, then the special tokens. The table is
 * padded to a multiple of 8, which matrix kernels like.
 */
export const byteTokenizer: Tokenizer = {
  name: "bytes",
  digest: null,
  vocabulary: 264,
  pad: PAD,
  end: END,
  specials: new Map([
    ["<pad>", PAD],
    ["<end>", END],
    ["<instruction>", 258],
    ["<input>", 259],
    ["<response>", 260],
  ]),
  encode: (text) => Int32Array.from(Buffer.from(text, "utf8")),
  decode(ids) {
    const bytes = new Uint8Array(ids.length);
    let length = 0;
    for (let at = 0; at < ids.length; at++) if (ids[at]! < 256) bytes[length++] = ids[at]!;
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, length));
  },
};
