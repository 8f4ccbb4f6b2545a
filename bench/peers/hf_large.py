"""One round of scenarios/olmoe.ts in transformers + PEFT, on a model folder in bfloat16: what a user would do instead.

    python bench/peers/hf_large.py FOLDER [--experts eager|grouped_mm|batched_mm] [--checkpointing] [--threads n]

Two clients in turn, one with the model's k and one with k = 1, from the same adapter: `--steps` AdamW steps each on `--rows` rows
of `--length` tokens; before and after, both budgets are evaluated on one batch. Then the mean of both adapters is taken. LoRA of rank 8 is on
all three projections of every expert, in float32 over a frozen base in bfloat16. Prints the peak of the proportional set size.
"""
import argparse
import re
import threading
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument('folder')
parser.add_argument('--experts', default='eager')
parser.add_argument('--checkpointing', action='store_true')
parser.add_argument('--threads', type=int, default=torch.get_num_threads())
parser.add_argument('--steps', type=int, default=2)
parser.add_argument('--rows', type=int, default=2)
parser.add_argument('--length', type=int, default=48)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(1)

peak, ended = 0, threading.Event()


def watch():
    global peak
    while not ended.wait(0.25):
        with open('/proc/self/smaps_rollup') as file:
            peak = max(peak, 1024 * int(re.search(r'^Pss:\s+(\d+)', file.read(), re.M)[1]))


threading.Thread(target=watch, daemon=True).start()
begun = time.time()
model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.bfloat16, experts_implementation=args.experts)
full = model.config.num_experts_per_tok
if args.checkpointing:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
routers = [module for name, module in model.named_modules() if name.endswith('.gate') and hasattr(module, 'top_k')]
assert routers, 'expected routers called gate with a top_k, as OLMoE has them'
targets = ['mlp.experts.gate_up_proj', 'mlp.experts.down_proj']
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=[], target_parameters=targets))
trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
print(f'loaded in {time.time() - begun:.0f} s, {sum(p.numel() for p in trained.values()):,} parameters train')


def batch():
    # The twin's tokenizer reads bytes.
    return torch.randint(0, min(256, model.config.vocab_size), (args.rows, args.length))


held_out = batch()


def evaluate():
    model.eval()
    for k in (full, 1):
        since = time.time()
        set_budget(k)
        with torch.no_grad():
            loss = model(input_ids=held_out, labels=held_out).loss.item()
        print(f'evaluated at k = {k}: loss {loss:.3f}, {time.time() - since:.1f} s', flush=True)


def set_budget(k):
    for router in routers:
        router.top_k = k


def train(k, start):
    model.train()
    set_budget(k)
    for name, p in trained.items():
        p.data.copy_(start[name])
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3, weight_decay=0)
    for step in range(args.steps):
        since, ids = time.time(), batch()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.time() - since
        print(f'k = {k}, step {step + 1}: loss {loss.item():.3f}, {seconds:.1f} s, {ids.numel() / seconds:.1f} tokens/s', flush=True)
    return {name: p.detach().clone() for name, p in trained.items()}


evaluate()
start = {name: p.detach().clone() for name, p in trained.items()}
ends = [train(k, start) for k in (full, 1)]
for name, p in trained.items():
    p.data.copy_(sum(end[name] for end in ends) / len(ends))
evaluate()
ended.set()
tokens = 2 * args.steps * args.rows * args.length
print(f'{tokens} tokens trained, {time.time() - begun:.0f} s in all, peak proportional set size {peak / 1e9:.2f} GB, {args.threads} threads')
