#!/usr/bin/env python3
"""Do transformers and PEFT compute the same logits from an exported adapter as flame-sim did?

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 transformers==5.18.0 peft==0.21.0
    venv/bin/python test/support/peft-check.py logits.json --model <folder> --adapter <folder>   # base + LoRA, by PEFT
    venv/bin/python test/support/peft-check.py logits.json --model <merged folder>               # a merge: no PEFT at all

logits.json holds what was computed on our side, in float32:

    { "ids":    [[86, 12, ...], ...],          one list per row, padded on the right
      "lengths": [20, 15],                     non-padding tokens of each row (optional: whole rows)
      "topK":   4,                             experts per token (optional: the folder's num_experts_per_tok)
      "logits": [[[0.1, ...], ...], ...] }     [rows][length][vocabulary]; null to print instead of compare

Compared are the logits of non-padding tokens. The exit code is 1 when |ours - theirs| / |theirs| (Euclidean norms over all
of them) exceeds --tolerance, or when the adapter makes no difference, which would mean that PEFT ignored it.
"""

import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logits", help="JSON file with ids and our logits")
    parser.add_argument("--model", required=True, help="Hugging Face folder of the base or merged model")
    parser.add_argument("--adapter", help="PEFT folder that flame export wrote")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative error, default 1e-4")
    parser.add_argument("--out", help="write their logits here, as JSON")
    return parser.parse_args()


def set_top_k(model, top_k):
    """The block copies top-k when it is built: `mlp.top_k` in transformers 4, `mlp.gate.top_k` in 5."""
    model.config.num_experts_per_tok = top_k
    for name, module in model.named_modules():
        # A router that an adapter brings along lies within the one of the model.
        if name.endswith(".mlp") or ".mlp.gate" in name:
            if hasattr(module, "top_k"):
                module.top_k = top_k


def logits_of(model, ids, mask):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits.float()


def main():
    args = arguments()
    with open(args.logits, encoding="utf8") as file:
        case = json.load(file)
    torch.manual_seed(0)
    ids = torch.tensor(case["ids"])
    lengths = torch.tensor(case.get("lengths") or [ids.shape[1]] * ids.shape[0])
    mask = (torch.arange(ids.shape[1])[None, :] < lengths[:, None]).long()

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    if case.get("topK"):
        set_top_k(model, case["topK"])
    real = mask.bool()
    base = logits_of(model, ids, mask)[real]
    theirs = base
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter)
        model.eval()
        theirs = logits_of(model, ids, mask)[real]
        change = ((theirs - base).norm() / base.norm()).item()
        print(f"the adapter changes the logits by {change:.3e} (relative)")
        if change == 0:
            print("FAIL: PEFT loaded the adapter and it has no effect")
            return 1
    if args.out:
        with open(args.out, "w", encoding="utf8") as file:
            json.dump({"lengths": lengths.tolist(), "logits": theirs.tolist()}, file)
    if case.get("logits") is None:
        torch.set_printoptions(precision=6)
        print(theirs[:4, :8])
        return 0
    ours = torch.tensor(case["logits"])[real]
    error = ((ours - theirs).norm() / theirs.norm()).item()
    verdict = "ok" if error <= args.tolerance else "FAIL"
    print(f"{verdict}: {int(lengths.sum())} tokens, relative error {error:.3e}, tolerance {args.tolerance:.0e}")
    return 0 if error <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
