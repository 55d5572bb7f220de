"""Trains the model of a qk-train config in PyTorch and prints, as one line of JSON, how long each step took.

    train_torch.py CONFIG.json [--steps 10] [--warmup 3] [--threads N] [--device cpu|cuda] [--dtype fp32|bf16]
                   [--compile [none|layers|whole|graphs]] [--weights start.raw --tokens tokens.raw]

The same architecture, loss, Muon and AdamW as lib/model and DESIGN say, written as a PyTorch user would
who cares for speed: what newer versions offer (fused attention, rms_norm, fused AdamW, torch.compile) is used
where it is there; 1.13 works too.  bf16 is autocast: weights, gradients and moments stay float32.  On a GPU
Muon takes all matrices of one shape at once, the backend of attention is the one that was fastest on this
shape, steps are timed by events, without waiting for each, and a batch that does not fit is halved.
Compiled are each layer and the loss (layers), the model (whole), or the model with CUDA graphs (graphs).

With --weights and --tokens, made by `gpu weights` and `gpu tokens` (tests/bench/gpu.c), it starts from our
initial weights and reads our windows in order, so that the losses it prints can be held against the log of
qk-train --set data_order=sequential.
"""
import argparse
import gc
import json
import math
import os
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DEFAULTS = {"norm_eps": 1.1920929e-07, "rope_base": 10000.0, "init_std": 0.02, "muon_momentum": 0.95, "adamw_beta1": 0.9,
            "adamw_beta2": 0.999, "adamw_eps": 1e-8, "weight_decay": 0.2, "grad_clip": 1.0, "grad_accum": 1, "seed": 42}
POLAR_EXPRESS = [(8.156554524902461, -22.48329292557795, 15.878769915207462),
                 (4.042929935166739, -2.808917465908714, 0.5000178451051316),
                 (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
                 (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
                 (2.3465413258596377, -1.7097828382687081, 0.42323551169305323)]
SDPA = getattr(F, "scaled_dot_product_attention", None)
COMPILED = False
GROUPED = False  # attention takes fewer key heads than query heads as they are


def rms_norm(x, gain, eps):
    if hasattr(F, "rms_norm") and not (COMPILED and x.dtype == torch.bfloat16):
        return F.rms_norm(x, gain.shape, gain.to(x.dtype), eps).to(x.dtype)
    wide = x.float()  # fused by the compiler
    return (wide * (torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain)).to(x.dtype)


def rotate(x, cos, sin):
    """Interleaved pairs of x [B, T, heads, hd]; cos, sin [T, 1, hd/2].  Complex numbers are faster where nothing is compiled."""
    if not COMPILED:
        turn = torch.complex(cos, sin)
        return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * turn).flatten(-2).to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(x.dtype)


def attend(q, k, v, mask):
    """Causal attention of q [B, H, T, hd] to k, v [B, G, T, hd]."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1 and GROUPED:
        return SDPA(q, k, v, is_causal=True, enable_gqa=True)
    if groups > 1:
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    if SDPA:
        return SDPA(q, k, v, is_causal=True)
    logits = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2) + mask
    return logits.softmax(-1) @ v


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        D, kv = c["d_model"], c["n_kv_heads"] * c["hd"]
        self.c, self.parts = c, [D, kv, kv]
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(D)), nn.Parameter(torch.ones(D))
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(c["hd"])), nn.Parameter(torch.ones(c["hd"]))
        self.qkvo = nn.Parameter(torch.empty(2 * D + 2 * kv, D).normal_(std=c["init_std"]))  # one matrix to Muon
        self.up = nn.Parameter(torch.empty(c["d_ff"], D).normal_(std=c["init_std"]))
        self.down = nn.Parameter(torch.empty(D, c["d_ff"]).normal_(std=c["init_std"]))

    def forward(self, x, cos, sin, mask):
        c, (B, T, D) = self.c, x.shape
        wqkv, wo = self.qkvo.split([sum(self.parts), D])
        qkv = F.linear(rms_norm(x, self.attn_norm, c["norm_eps"]), wqkv)
        q, k, v = (part.unflatten(-1, (-1, c["hd"])) for part in qkv.split(self.parts, -1))
        q = rotate(rms_norm(q, self.q_norm, c["norm_eps"]), cos, sin)
        k = rotate(rms_norm(k, self.k_norm, c["norm_eps"]), cos, sin)
        o = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask)
        x = x + F.linear(o.transpose(1, 2).reshape(B, T, D), wo)
        return x + F.linear(F.relu(F.linear(rms_norm(x, self.ffn_norm, c["norm_eps"]), self.up)).square(), self.down)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.empty(c["vocab_size"], c["d_model"]).normal_(std=c["init_std"]))
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["n_layers"]))
        self.final_norm = nn.Parameter(torch.ones(c["d_model"]))
        T, hd = c["seq_len"], c["hd"]
        angle = torch.outer(torch.arange(T).double(), c["rope_base"] ** (-torch.arange(0, hd, 2).double() / hd))
        self.register_buffer("cos", angle.cos().float()[:, None])
        self.register_buffer("sin", angle.sin().float()[:, None])
        self.register_buffer("mask", None if SDPA else torch.full((T, T), -math.inf).triu(1))

    def loss(self, x, targets):
        logits = F.linear(rms_norm(x, self.final_norm, self.c["norm_eps"]), self.embed)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.embed) * math.sqrt(self.c["d_model"])
        if self.c["narrow"]:
            x = x.bfloat16()
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        return self.loss(x, targets)


def polar_express(x):
    """x [rows, cols] or [matrices, rows, cols] with no more rows than columns."""
    add = torch.addmm if x.ndim == 2 else torch.baddbmm
    x = x / (1.01 * torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def wide(w):
    return w.mT if w.shape[0] > w.shape[1] else w


class Muon(torch.optim.Optimizer):
    """`together`: all matrices of one shape, seen the wide way, are orthogonalised as one batch; else one by one."""

    def __init__(self, weights, lr, momentum, orthogonalize, dtype, together):
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        self.orthogonalize, self.dtype, self.together = orthogonalize, dtype, together
        self.alike = {}
        for w in weights:
            self.state[w]["mean"] = torch.zeros_like(w)
            self.alike.setdefault(wide(w).shape if together else w, []).append(w)

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for weights in self.alike.values():
            grads, means = [w.grad for w in weights], [self.state[w]["mean"] for w in weights]
            if self.together:
                torch._foreach_lerp_(means, grads, 1 - group["momentum"])
                torch._foreach_lerp_(grads, means, group["momentum"])
                updates = self.orthogonalize(torch.stack([wide(g).to(self.dtype) for g in grads])).unbind()
            else:
                means[0].lerp_(grads[0], 1 - group["momentum"])
                updates = [self.orthogonalize(wide(grads[0].lerp_(means[0], group["momentum"]).to(self.dtype)))]
            for w, update in zip(weights, updates):
                update = update.mT if w.shape[0] > w.shape[1] else update
                w.add_(update, alpha=-group["lr"] * math.sqrt(max(1, w.shape[0] / w.shape[1])))


def make_optimizers(model, c, args):
    matrices = [w for name, w in model.named_parameters() if w.ndim == 2 and name != "embed"]
    others = [w for name, w in model.named_parameters() if w.ndim < 2 or name == "embed"]
    orthogonalize = torch.compile(polar_express, dynamic=False) if COMPILED else polar_express
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    settings = {"lr": c["adamw_lr"], "betas": (c["adamw_beta1"], c["adamw_beta2"]), "eps": c["adamw_eps"],
                "weight_decay": c["weight_decay"]}
    try:
        adamw = torch.optim.AdamW(others, fused=True, **settings)
    except (RuntimeError, TypeError):  # before 2.4 only on a GPU, or not at all
        adamw = torch.optim.AdamW(others, **settings)
    return [Muon(matrices, c["muon_lr"], c["muon_momentum"], orthogonalize, dtype, args.device.startswith("cuda")), adamw]


def load_weights(model, path):
    with open(path + ".json") as f:
        places = json.load(f)
    numbers = torch.from_file(path, size=os.path.getsize(path) // 4, dtype=torch.float32)

    def read(*names):
        parts = []
        for at, rows, cols in (places[name] for name in names):
            parts.append(numbers[at:at + rows * max(cols, 1)].view(*([rows, cols] if cols else [rows])))
        return torch.cat(parts)

    model.embed.data = read("embed")
    model.final_norm.data = read("final_norm")
    for i, layer in enumerate(model.layers):
        at = f"layers/{i}/"
        for ours, theirs in (("attn_norm",) * 2, ("ffn_norm",) * 2, ("q_norm",) * 2, ("k_norm",) * 2, ("up", "w_up"), ("down", "w_down")):
            getattr(layer, ours).data = read(at + theirs)
        layer.qkvo.data = read(at + "wq", at + "wk", at + "wv", at + "wo")


def batches(c, args):
    """Inputs and targets [batch, T] without end: our windows in their order, or numbers with Zipf's frequencies."""
    B, T, V = c["batch_size"] * c["grad_accum"], c["seq_len"], c["vocab_size"]
    if args.tokens:
        tokens = torch.from_file(args.tokens, size=os.path.getsize(args.tokens) // 4, dtype=torch.int32).long()
        windows, first = (len(tokens) - 1) // T, 0
        while True:
            rows = torch.stack([tokens[i % windows * T:i % windows * T + T + 1] for i in range(first, first + B)])
            first += B
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    generator = torch.Generator().manual_seed(c["seed"])
    while True:
        rows = (V ** torch.rand(B, T + 1, generator=generator)).long().clamp_(max=V) - 1
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def fastest_attention(c, micro, device):
    """On a GPU: the backend that takes this shape forward and back in the least time, from now on the only one."""
    global GROUPED
    from torch.backends import cuda
    switches = {"flash": cuda.enable_flash_sdp, "efficient": cuda.enable_mem_efficient_sdp, "math": cuda.enable_math_sdp}
    if hasattr(cuda, "enable_cudnn_sdp"):
        switches["cudnn"] = cuda.enable_cudnn_sdp

    def only(name):
        for other, switch in switches.items():
            switch(other == name)

    shape = lambda heads: torch.randn(micro, c["seq_len"], heads, c["hd"], device=device, dtype=torch.bfloat16, requires_grad=True)
    q, k, v = shape(c["n_heads"]), shape(c["n_kv_heads"]), shape(c["n_kv_heads"])
    found = {}
    for name in ("flash", "cudnn", "efficient"):
        for grouped in (False, True) if c["n_kv_heads"] < c["n_heads"] else (False,):
            if name not in switches:
                continue
            only(name)
            GROUPED = grouped
            try:
                marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
                for i in range(13):
                    if i == 3:
                        marks[0].record()
                    o = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None)
                    o.backward(o.detach())
                marks[1].record()
                torch.cuda.synchronize()
                found[name, grouped] = marks[0].elapsed_time(marks[1]) / 10
            except (RuntimeError, TypeError):  # not for this card, shape or version
                continue
    if not found:
        for switch in switches.values():
            switch(True)
        GROUPED = False
        return "its own choice"
    (name, GROUPED), milliseconds = min(found.items(), key=lambda item: item[1])
    only(name)
    return f"{name}{', grouped' if GROUPED else ''}: {milliseconds:.3f} ms forward and back"


def read_config(path):
    with open(path) as f:
        c = {**DEFAULTS, **json.load(f)}
    c.setdefault("n_kv_heads", c["n_heads"])
    c["hd"] = c["d_model"] // c["n_heads"]
    for key, known in (("ffn", "relu2"), ("qk_norm", "learned"), ("optimizer", "muon+adamw"), ("rope_style", "interleaved"),
                       ("tie_embeddings", True), ("muon_qkvo", "merged"), ("muon_weight_decay", 0), ("lr_schedule", "constant")):
        if c.get(key, known) != known:
            raise SystemExit(f"train_torch: {path}: {key} other than {known} is not written here")
    return c


class Clock:
    """Seconds of each step: by events on a GPU, which nobody waits for, else by the clock."""

    def __init__(self, device):
        self.on_gpu, self.marks = device.startswith("cuda"), []

    def mark(self):
        if self.on_gpu:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def seconds(self):
        if self.on_gpu:
            torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1000 if self.on_gpu else b - a for a, b in zip(self.marks, self.marks[1:])]


def compiled(model, how):
    if how == "layers":
        for layer in model.layers:
            layer.compile()
        model.loss = torch.compile(model.loss)
        return model
    return torch.compile(model, mode="reduce-overhead") if how == "graphs" else torch.compile(model)


def train(c, args, micro):
    """Seconds and loss of each step, `micro` sequences at once."""
    torch.manual_seed(c["seed"])
    model = Model(c)
    if args.weights:
        load_weights(model, args.weights)
    model.to(args.device)
    optimizers = make_optimizers(model, c, args)
    compute = model if args.compile == "none" else compiled(model, args.compile)
    narrow = torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=c["narrow"])
    clock, losses, data = Clock(args.device), [], batches(c, args)
    for _ in range(args.warmup + args.steps):
        rows = next(data)
        if clock.on_gpu:
            rows = [x.pin_memory() for x in rows]
        clock.mark()
        tokens, targets = (x.to(args.device, non_blocking=True) for x in rows)
        loss = 0
        for first in range(0, len(tokens), micro):
            if args.compile == "graphs":
                torch.compiler.cudagraph_mark_step_begin()
            part = slice(first, first + micro)
            with narrow:
                one = compute(tokens[part], targets[part]) * (len(tokens[part]) / len(tokens))
            one.backward()
            loss = loss + one.detach()
        nn.utils.clip_grad_norm_(model.parameters(), c["grad_clip"])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss if clock.on_gpu else loss.item())
        if not clock.on_gpu:
            clock.mark()
    if clock.on_gpu:
        clock.mark()
        return clock.seconds(), [loss.item() for loss in losses]
    return clock.seconds()[::2], losses


def train_in_memory(c, args, micro):
    """As many sequences at once as fit: (seconds, losses, that many)."""
    while True:
        try:
            return *train(c, args, micro), micro
        except RuntimeError as error:
            if micro == 1 or "out of memory" not in str(error):
                raise
        print(f"train_torch: {micro} sequences do not fit, {micro // 2} are tried", file=sys.stderr)
        micro //= 2
        gc.collect()
        torch.cuda.empty_cache()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("config")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--warmup", type=int, default=3)
    options.add_argument("--threads", type=int, default=0)
    options.add_argument("--device", default="cpu")
    options.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    options.add_argument("--compile", nargs="?", const="whole", default="none", choices=["none", "layers", "whole", "graphs"])
    options.add_argument("--weights")
    options.add_argument("--tokens")
    args = options.parse_args()
    global COMPILED
    COMPILED = args.compile != "none"
    on_gpu = args.device.startswith("cuda")
    c = read_config(args.config)
    c["narrow"] = args.dtype == "bf16"
    if args.threads:
        torch.set_num_threads(args.threads)
    how = fastest_attention(c, c["batch_size"], args.device) if on_gpu and c["narrow"] else None
    seconds, losses, micro = train_in_memory(c, args, c["batch_size"])
    print(json.dumps({
        "torch": torch.__version__, "threads": torch.get_num_threads(), "device": args.device, "compile": args.compile, "attention": how,
        "gpu": torch.cuda.get_device_name(args.device) if on_gpu else None, "micro_batch": micro,
        "tokens_per_step": c["batch_size"] * c["grad_accum"] * c["seq_len"], "step_s": seconds[args.warmup:], "warmup_s": seconds[:args.warmup],
        "losses": losses, "max_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "max_device_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "max_reserved_bytes": torch.cuda.max_memory_reserved() if on_gpu else None}))


main()
