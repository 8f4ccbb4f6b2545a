/** What a file is when it is not what its name says: told by its first bytes, with what to do about it. */

/** Python writes JSON Lines from most of these. */
const toLines = 'in Python, pandas writes JSON Lines with to_json(path, orient="records", lines=True)';

/** Of the first bytes as Latin-1. Text in UTF-8 and headers of safetensors that are sound begin like none of them. */
const kinds: readonly (readonly [beginning: RegExp, kind: string])[] = [
  [
    /^version https:\/\/git-lfs\.github\.com\/spec\//,
    'a Git LFS pointer in place of the file; fetch the file with "git lfs pull"',
  ],
  [
    /^(ï»¿)?\s*<(!doctype|html|head|body|\?xml)/i,
    "an HTML or XML page, such as a server's error or login; download the file anew",
  ],
  [/^(ÿþ|þÿ|[{[]\0|\0[{[])/, "text in UTF-16; save it as UTF-8"],
  [/^\p{Cc}\x8b\p{Cc}/u, "packed with gzip; unpack it with gunzip"],
  [/^(\x28\xb5\x2f\xfd|BZh[1-9]1AY|\xfd7zXZ\0|7z\xbc\xaf)/, "packed with zstd, bzip2, xz or 7z; unpack it"],
  [
    /^PK(?!\s)\p{Cc}/u,
    "a ZIP archive, as PyTorch and NumPy write them, too; unpack it or save its content as safetensors",
  ],
  [/^PAR1(?!\s)\p{Cc}/u, `a Parquet file; ${toLines}`],
  [/^(ARROW1\0|\xff\xff\xff\xff)/, `an Arrow file; ${toLines}`],
  [
    /^\x80\p{Cc}/u,
    "a Python pickle, which could execute code and is not read; save its content as JSON or safetensors",
  ],
  [
    /^(GGUF(?!\s)\p{Cc}|\x89HDF\r\n|SQLite format 3\0)/u,
    "a GGUF, HDF5 or SQLite file; save its content as JSON or safetensors",
  ],
];

/** The kind and the remedy, for "… is "; null for what may be text. @param head the first bytes, 512 are enough */
export function otherKind(head: Uint8Array): string | null {
  const beginning = Buffer.from(head.subarray(0, 512)).toString("latin1");
  return kinds.find(([pattern]) => pattern.test(beginning))?.[1] ?? null;
}
