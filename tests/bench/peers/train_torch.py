"""Trains the model of a qk-train config in PyTorch and prints, as one line of JSON, how long each step took.

    train_torch.py CONFIG.json [--steps 10] [--warmup 3] [--threads N] [--device cpu|cuda] [--dtype fp32|bf16]
                   [--compile] [--from start.h5 --data tokens.h5]

The same architecture, loss, Muon and AdamW as lib/model and DESIGN say, written as a PyTorch user would
who cares for speed: what newer versions offer (fused attention, rms_norm, fused AdamW, torch.compile) is used
where it is there; 1.13 works too.  With --from and --data (h5py) it starts from our initial checkpoint and
reads our windows in order, so that the losses it prints can be held against the log of
qk-train --set data_order=sequential.
"""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

DEFAULTS = {"norm_eps": 1.1920929e-07, "rope_base": 10000.0, "init_std": 0.02, "muon_momentum": 0.95, "adamw_beta1": 0.9,
            "adamw_beta2": 0.999, "adamw_eps": 1e-8, "weight_decay": 0.2, "grad_clip": 1.0, "seed": 42}
POLAR_EXPRESS = [(8.156554524902461, -22.48329292557795, 15.878769915207462),
                 (4.042929935166739, -2.808917465908714, 0.5000178451051316),
                 (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
                 (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
                 (2.3465413258596377, -1.7097828382687081, 0.42323551169305323)]
SDPA = getattr(F, "scaled_dot_product_attention", None)
COMPILED = False


def rms_norm(x, gain, eps):
    if hasattr(F, "rms_norm"):
        return F.rms_norm(x, gain.shape, gain, eps)
    return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gain)


def rotate(x, cos, sin):
    """Interleaved pairs of x [B, T, heads, hd]; cos, sin [T, 1, hd/2].  Complex numbers are faster where nothing is compiled."""
    if x.dtype == torch.float32 and not COMPILED:
        turn = torch.complex(cos, sin)
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


def attend(q, k, v, mask):
    """Causal attention of q [B, H, T, hd] to k, v [B, G, T, hd]."""
    groups = q.shape[1] // k.shape[1]
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

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.embed) * math.sqrt(self.c["d_model"])
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        logits = F.linear(rms_norm(x, self.final_norm, self.c["norm_eps"]), self.embed)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def polar_express(g):
    x = g.mT if g.shape[0] > g.shape[1] else g
    x = x / (1.01 * x.norm() + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if g.shape[0] > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    def __init__(self, weights, lr, momentum, orthogonalize, dtype):
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        self.orthogonalize, self.dtype = orthogonalize, dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                mean = self.state[w].setdefault("mean", torch.zeros_like(w))
                mean.lerp_(w.grad, 1 - group["momentum"])
                update = self.orthogonalize(w.grad.lerp_(mean, group["momentum"]).to(self.dtype))
                w.add_(update.to(w.dtype), alpha=-group["lr"] * math.sqrt(max(1, w.shape[0] / w.shape[1])))


def make_optimizers(model, c, args):
    matrices = [w for name, w in model.named_parameters() if w.ndim == 2 and name != "embed"]
    others = [w for name, w in model.named_parameters() if w.ndim < 2 or name == "embed"]
    orthogonalize = torch.compile(polar_express) if args.compile else polar_express
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    settings = {"lr": c["adamw_lr"], "betas": (c["adamw_beta1"], c["adamw_beta2"]), "eps": c["adamw_eps"],
                "weight_decay": c["weight_decay"]}
    try:
        adamw = torch.optim.AdamW(others, fused=True, **settings)
    except (RuntimeError, TypeError):  # before 2.4 only on a GPU, or not at all
        adamw = torch.optim.AdamW(others, **settings)
    return [Muon(matrices, c["muon_lr"], c["muon_momentum"], orthogonalize, dtype), adamw]


def load_weights(model, path):
    import h5py
    with h5py.File(path) as f:
        weights = f["weights"]
        read = lambda *names: torch.cat([torch.from_numpy(weights[name][()]) for name in names])
        model.embed.data = read("embed")
        model.final_norm.data = read("final_norm")
        for i, layer in enumerate(model.layers):
            at = f"layers/{i}/"
            for ours, theirs in (("attn_norm",) * 2, ("ffn_norm",) * 2, ("q_norm",) * 2, ("k_norm",) * 2, ("up", "w_up"), ("down", "w_down")):
                getattr(layer, ours).data = read(at + theirs)
            layer.qkvo.data = read(at + "wq", at + "wk", at + "wv", at + "wo")


def batches(c, args):
    """Inputs and targets [batch, T] without end: our windows in their order, or numbers with Zipf's frequencies."""
    B, T, V = c["batch_size"], c["seq_len"], c["vocab_size"]
    if args.data:
        import h5py
        import hdf5plugin  # noqa: F401: the zstd filter
        with h5py.File(args.data) as f:
            tokens = torch.from_numpy(f["train/tokens"][()].astype("int64"))
        first = 0
        while True:
            rows = torch.stack([tokens[i * T:i * T + T + 1] for i in range(first, first + B)])
            first += B
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    generator = torch.Generator().manual_seed(c["seed"])
    while True:
        rows = (V ** torch.rand(B, T + 1, generator=generator)).long().clamp_(max=V) - 1
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def read_config(path):
    with open(path) as f:
        c = {**DEFAULTS, **json.load(f)}
    c.setdefault("n_kv_heads", c["n_heads"])
    c["hd"] = c["d_model"] // c["n_heads"]
    for key, known in (("ffn", "relu2"), ("qk_norm", "learned"), ("optimizer", "muon+adamw"), ("rope_style", "interleaved"),
                       ("tie_embeddings", True), ("muon_qkvo", "merged"), ("muon_weight_decay", 0), ("lr_schedule", "constant"), ("grad_accum", 1)):
        if c.get(key, known) != known:
            raise SystemExit(f"train_torch: {path}: {key} other than {known} is not written here")
    return c


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("config")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--warmup", type=int, default=3)
    options.add_argument("--threads", type=int, default=0)
    options.add_argument("--device", default="cpu")
    options.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--from", dest="start")
    options.add_argument("--data")
    args = options.parse_args()
    global COMPILED
    COMPILED = args.compile
    c = read_config(args.config)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(c["seed"])
    model = Model(c)
    if args.start:
        load_weights(model, args.start)
    model.to(args.device)
    optimizers = make_optimizers(model, c, args)
    compute = torch.compile(model) if args.compile else model
    narrow = torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.dtype == "bf16")
    wait = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    seconds, losses = [], []
    data = batches(c, args)
    for _ in range(args.warmup + args.steps):
        tokens, targets = (x.to(args.device) for x in next(data))
        wait()
        start = time.perf_counter()
        with narrow:
            loss = compute(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), c["grad_clip"])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    print(json.dumps({
        "torch": torch.__version__, "threads": torch.get_num_threads(), "device": args.device, "compile": args.compile,
        "tokens_per_step": c["batch_size"] * c["seq_len"], "step_s": seconds[args.warmup:], "warmup_s": seconds[:args.warmup],
        "losses": losses, "max_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "max_device_bytes": torch.cuda.max_memory_allocated() if args.device.startswith("cuda") else None}))


main()
