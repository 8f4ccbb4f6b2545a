"""The Parquet files beside this one, as pyarrow 25.0.1 writes them: python make.py."""
import pyarrow as pa
import pyarrow.parquet as pq

alpaca = pa.table({
    "instruction": ["Say one.", "Say two.", "Sage drei: ä€😀", "Say four."],
    "input": ["", None, "x", ""],
    "output": ["one", "two", "drei", None],
    "category": ["a", "b", "a", "b"],
    "id": pa.array([1, 2, 3, 2**60], pa.int64()),
    "score": pa.array([0.5, None, 1.0, 2.0], pa.float32()),
    "note": ["no content here"] * 3 + ["words in a row that no example holds"],
})
for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    pq.write_table(alpaca, f"alpaca-{codec}.parquet", compression=codec, row_group_size=3)
pq.write_table(alpaca, "alpaca-v2.parquet", data_page_version="2.0", use_dictionary=False, version="2.6")
texts = ["instruction", "input", "output", "category", "note"]
pq.write_table(alpaca, "alpaca-delta.parquet", compression="none", row_group_size=3, use_dictionary=False,
               column_encoding=dict.fromkeys(texts, "DELTA_BYTE_ARRAY"))
pq.write_table(alpaca, "alpaca-checked.parquet", compression="none", write_page_checksum=True)

turn = lambda role, content: {"role": role, "content": content}
pq.write_table(pa.table({
    "messages": [
        [turn("system", "Be brief."), turn("user", "One?"), turn("assistant", "1")],
        [turn("user", "Two?"), turn("assistant", "2"), turn("user", "Three?"), turn("assistant", "3")],
    ],
    "meta": [{"source": "x", "made": 5}, None],
}), "messages.parquet")
