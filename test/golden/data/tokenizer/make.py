"""A small tokenizer of OLMoE's kind, and what tokenizers 0.23 makes of texts with it: python make.py."""
import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

tokenizer = Tokenizer(models.BPE())
tokenizer.normalizer = normalizers.NFC()
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
code = 'def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(values)\n'
table = "| name  | value |\n|-------|-------|\n| alpha |  0.05 |\n| beta  | 12.50 |\n"
chinese = "联邦学习让多个客户端在不共享数据的情况下共同训练模型！价格：￥12.50。"
mixed = "The café's 3 rows — 名前: naïve 👩‍👩‍👧 e\u0301 don't I'LL ﬁ\u00a0x\u3000y\r\n\t\tend"
special = "a <|endoftext|> b<|endoftext|><|padding|> <|endof text|> |||EMAIL_ADDRESS||| <|end"
texts = [code, table, chinese, mixed, special, "", " ", "\n\n\n", "x" + " " * 9 + "y" + " " * 3]
trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
tokenizer.train_from_iterator(texts * 8, trainer)
tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
spaces = [AddedToken(" " * n, normalized=True, special=False) for n in (8, 4, 2)]
tokenizer.add_tokens([*spaces, AddedToken("|||EMAIL_ADDRESS|||", normalized=True, special=False)])
tokenizer.save("tokenizer.json", pretty=False)
tokenizer.encode_special_tokens = True
ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
with open("tokenizer_config.json", "w") as file:
    json.dump({"eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}, file)
with open("expected.json", "w") as file:
    json.dump([{"text": text, "ids": own} for text, own in zip(texts, ids)], file, indent=0)
