"""Makes test/golden/data/relatives/: small random models of OLMoE's relatives, and what transformers and PyTorch compute from them;
and test/golden/data/narrow/: an OLMoE saved in bfloat16, and what they compute in float32 from its weights in 16, 8 and 4 bits.

    python3 -m venv .cache/torch && .cache/torch/bin/pip install torch==2.13.0 transformers==5.18.0
    .cache/torch/bin/python scripts/relative-goldens.py [model_type | half | int8 | int4 ...]

A folder each: the model as transformers saves it, and beside it `expected.json` (token ids, mask, labels, LoRA, losses) and
`expected.safetensors`, for k = 1 and for the model's own k; `narrow` has these two of each form, as `expected-int4.json`:

    base.logits.k1, lora.logits.k1        [rows, length, vocabulary]
    activations.k1                        [mixtures, experts]: tokens that are no padding
    rescaler, grad.k1.rescaler, …         [mixtures]
    lora.0.gate.A, grad.k1.0.gate.A, …    [experts, rank, in]; B [experts, out, rank]; of mixture 0, 1, …; gate, up and down
    after3.k1.…                           after three AdamW steps

LoRA is put onto the experts' weights, W + (alpha / rank) B A, and the rescaler onto what the experts of a layer put out: all by
PyTorch's own autograd, in float32 on one thread.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GraniteMoeConfig, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3MoeConfig

common = dict(vocab_size=64, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
              bos_token_id=None, eos_token_id=63, pad_token_id=0)
models = {
    'mixtral': (MixtralConfig, dict(num_hidden_layers=2, intermediate_size=16, num_local_experts=6, num_experts_per_tok=2)),
    'qwen2_moe': (Qwen2MoeConfig, dict(num_hidden_layers=3, mlp_only_layers=[1], intermediate_size=24, moe_intermediate_size=16,
                  shared_expert_intermediate_size=20, num_experts=6, num_experts_per_tok=4)),
    'qwen3_moe': (Qwen3MoeConfig, dict(num_hidden_layers=4, decoder_sparse_step=2, intermediate_size=24, moe_intermediate_size=16,
                  head_dim=16, num_experts=6, num_experts_per_tok=4, norm_topk_prob=True)),
    'granitemoe': (GraniteMoeConfig, dict(num_hidden_layers=2, intermediate_size=16, num_local_experts=6, num_experts_per_tok=4,
                   tie_word_embeddings=True, embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.2,
                   logits_scaling=1.5)),
}
# Rows of 48 and of 20: blocks of 32 that are not whole.
narrow = (OlmoeConfig, dict(hidden_size=48, num_hidden_layers=2, intermediate_size=20, num_experts=6, num_experts_per_tok=3))
forms = ('half', 'int8', 'int4')
eager = dict(attn_implementation='eager', experts_implementation='eager')
rank, alpha, steps = 2, 4, 3
rows, length = 2, 12


def build(kind, draws):
    config_class, own = models.get(kind, narrow)
    config = config_class(**common | own)
    model = AutoModelForCausalLM.from_config(config, **eager)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=draws)
            if 'norm' in name:
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.2 * noise)
            elif 'embed' in name:
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise / p.shape[-1] ** 0.5)
    return model.float().eval()


def quantised(weight, form):
    """What integers in blocks of 32 inputs stand for, whose scale is a bfloat16 rounded away from 0."""
    weight = weight.detach()
    inputs = weight.shape[-1]
    blocks = torch.nn.functional.pad(weight, (0, -inputs % 32)).unflatten(-1, (-1, 32))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    low, high = (-127, 127) if form == 'int8' else (-8, 7)
    scale = largest / (127 if form == 'int8' else -8)
    scale = ((scale.view(torch.int32) + 0xffff) & -0x10000).view(torch.float32)
    levels = torch.floor(blocks.double() / scale.double() + 0.5).clamp(low, high).float()
    return (levels * scale).flatten(-2)[..., :inputs].contiguous()


def narrowed(model, form):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if form != 'half' and ('.experts.' in name or name.endswith('_proj.weight')):
                p.copy_(quantised(p, form))
    return model


def expert_modules(model):
    return [(name, module) for name, module in model.named_modules() if name.endswith('.experts')]


def routers(model):
    return [module for name, module in model.named_modules() if name.endswith(('mlp.gate', '.router')) and hasattr(module, 'top_k')]


class Adapted:
    """A model with LoRA factors and rescalers as leaves of the graph."""

    def __init__(self, model, draws):
        self.model = model
        self.experts = expert_modules(model)
        self.count, d, f = self.experts[0][1].down_proj.shape
        shape = {'gate': (d, f), 'up': (d, f), 'down': (f, d)}
        self.factors = {}
        for at in range(len(self.experts)):
            for name, (inner, out) in shape.items():
                self.factors[f'{at}.{name}.A'] = torch.randn(self.count, rank, inner, generator=draws) / inner ** 0.5
                self.factors[f'{at}.{name}.B'] = 0.3 * torch.randn(self.count, out, rank, generator=draws)
        self.rescaler = 1 + 0.2 * torch.randn(len(self.experts), generator=draws)

    def logits(self, factors, rescaler, k, ids, mask):
        change = {}
        delta = lambda at, name: (alpha / rank) * factors[f'{at}.{name}.B'] @ factors[f'{at}.{name}.A']
        for at, (name, module) in enumerate(self.experts):
            if factors is None:
                continue
            change[f'{name}.gate_up_proj'] = module.gate_up_proj + torch.cat([delta(at, 'gate'), delta(at, 'up')], 1)
            change[f'{name}.down_proj'] = module.down_proj + delta(at, 'down')
        chosen, handles = [], []
        for router in routers(self.model):
            router.top_k = k
            handles.append(router.register_forward_hook(lambda _m, _i, out: chosen.append(self.seen(out, k))))
        if rescaler is not None:
            for at, (_, module) in enumerate(self.experts):
                handles.append(module.register_forward_hook(lambda _m, _i, out, at=at: out * rescaler[at]))
        out = functional_call(self.model, change, (), dict(input_ids=ids, attention_mask=mask, use_cache=False)).logits
        for handle in handles:
            handle.remove()
        return out, chosen

    def seen(self, out, k):
        indices = next(t for t in out if not t.is_floating_point())
        scores = next(t for t in out if t.is_floating_point() and t.shape[-1] == self.count)
        kept = scores.sort(dim=-1, descending=True).values
        # Nothing here may hang on the last bit.
        assert (kept[:, k - 1] - kept[:, k]).min() > 1e-3, 'two experts are nearly tied'
        return indices


def make(kind):
    # Two seeds with which no two experts are nearly tied.
    draws = torch.Generator().manual_seed(20_250_623 if kind in forms else 20_250_616)
    model = build(kind, draws)
    data = pathlib.Path(__file__).parent.parent / 'test/golden/data'
    folder = data / 'narrow' if kind in forms else data / 'relatives' / kind
    folder.mkdir(parents=True, exist_ok=True)
    if kind in forms:
        model.bfloat16()
    model.save_pretrained(folder)
    (folder / 'generation_config.json').unlink(missing_ok=True)
    if kind in forms:
        model = narrowed(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **eager).eval(), kind)

    ids = torch.randint(1, 63, (rows, length), generator=draws)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    ids[1, 9:] = 0
    labels = torch.where(mask.bool(), ids, -100)
    labels[:, :4] = -100
    loss_of = lambda logits: cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    adapted = Adapted(model, draws)
    # The model and what lies on it must not depend on each other's gradients.
    model.requires_grad_(False)
    own = model.config.num_experts_per_tok
    tensors = {f'lora.{name}': t for name, t in adapted.factors.items()} | {'rescaler': adapted.rescaler}
    expected = dict(rank=rank, alpha=alpha, ids=ids.tolist(), attention_mask=mask.tolist(), labels=labels.tolist(),
                    loss_base={}, loss_lora={}, losses_training={})
    for k in (1, own):
        base, _ = adapted.logits(None, None, k, ids, mask)
        factors = {name: t.clone().requires_grad_() for name, t in adapted.factors.items()}
        rescaler = adapted.rescaler.clone().requires_grad_()
        optimizer = torch.optim.AdamW([dict(params=list(factors.values()), lr=1e-3), dict(params=[rescaler], lr=1e-2)],
                                      betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
        losses = []
        for step in range(steps):
            logits, chosen = adapted.logits(factors, rescaler, k, ids, mask)
            loss = loss_of(logits)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                real = mask.flatten().bool()
                counts = [torch.bincount(c[real].flatten(), minlength=adapted.count) for c in chosen]
                tensors |= {f'base.logits.k{k}': base, f'lora.logits.k{k}': logits.detach().clone(),
                            f'activations.k{k}': torch.stack(counts).float(), f'grad.k{k}.rescaler': rescaler.grad.clone()}
                tensors |= {f'grad.k{k}.{name}': t.grad.clone() for name, t in factors.items()}
            optimizer.step()
        tensors |= {f'after3.k{k}.{name}': t.detach().clone() for name, t in factors.items()}
        tensors[f'after3.k{k}.rescaler'] = rescaler.detach().clone()
        expected['loss_base'][k] = loss_of(base).item()
        expected['loss_lora'][k] = losses[0]
        expected['losses_training'][k] = losses
        print(kind, k, expected['loss_base'][k], losses)
    name = f'expected-{kind}' if kind in forms else 'expected'
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / f'{name}.safetensors')
    (folder / f'{name}.json').write_text(json.dumps(expected) + '\n')


torch.set_num_threads(1)
for kind in sys.argv[1:] or (*models, *forms):
    make(kind)
