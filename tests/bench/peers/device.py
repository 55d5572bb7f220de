"""What PyTorch makes of a device, as tests/bench/gpu.c tells it of ours: the same lines, the same shapes, the same counting.

    device.py [--device cpu|cuda] [--seconds 0.5] describe
    device.py ... matmul MxNxK... | copy BYTES... | attention BxTxHxGxhd...

Products and attention are bf16.  Attention is scaled_dot_product_attention, once for each backend there is, which is
named before the direction; where key heads are fewer, they are given as they are (grouped) and, for backends that
refuse that, repeated beforehand.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F

BLOCKS = 5


def say(name, shape, per, unit, seconds):
    print(name, shape, f"{per / seconds:.6g}", unit, f"{seconds:.6g}", sep="\t", flush=True)


def seconds_of(once, wait, seconds):
    """One of them: the median of five blocks that wait once each."""
    def block(times):
        start = time.perf_counter()
        for _ in range(times):
            once()
        wait()
        return time.perf_counter() - start
    block(1)
    times = max(1, min(100000, round(seconds / BLOCKS / (block(3) / 3))))
    return statistics.median(block(times) for _ in range(BLOCKS)) / times


def matmul(shape, drawn, wait, seconds):
    M, N, K = (int(n) for n in shape.split("x"))
    x, w, y = drawn(M, K), drawn(N, K) * 0.02, drawn(M, N)
    into = torch.empty_like(y), torch.empty_like(x), torch.empty_like(w)
    ways = {"forward": lambda: torch.matmul(x, w.mT, out=into[0]), "dx": lambda: torch.matmul(y, w, out=into[1]),
            "dw": lambda: torch.matmul(y.mT, x, out=into[2])}
    for name, once in ways.items():
        say(name, shape, 2e-12 * M * N * K, "TFLOP/s", seconds_of(once, wait, seconds))


def copy(text, drawn, wait, seconds):
    size = int(text) // 4
    a = torch.randn(size, device=drawn(1).device)
    b = torch.empty_like(a)
    say("copy", text, 8e-9 * size, "GB/s", seconds_of(lambda: b.copy_(a), wait, seconds))


def attention(shape, drawn, wait, seconds):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    B, T, H, G, hd = (int(n) for n in shape.split("x"))
    per = 2e-12 * B * T * T * H * hd
    for backend in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        if not hasattr(SDPBackend, backend):
            continue
        for heads in (G, H) if G < H else (H,):
            # [B, T, heads, hd] in memory, as a model has them
            q, k, v = (drawn(B, T, n, hd).transpose(1, 2).requires_grad_() for n in (H, heads, heads))
            do = drawn(B, T, H, hd).transpose(1, 2)
            how = {"enable_gqa": True} if heads < H else {}
            name = backend.split("_")[0].lower() + (" grouped" if heads < H else " repeated" if G < H else "")
            try:
                with sdpa_kernel(getattr(SDPBackend, backend)):
                    forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, **how)
                    with torch.no_grad():
                        one = seconds_of(forward, wait, seconds)
                    o = forward()
                    back = seconds_of(lambda: torch.autograd.grad(o, (q, k, v), do, retain_graph=True), wait, seconds)
            except (RuntimeError, TypeError):  # not for this device, shape or version
                continue
            say(f"{name} forward", shape, per, "TFLOP/s", one)
            say(f"{name} backward", shape, 2.5 * per, "TFLOP/s", back)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--seconds", type=float, default=0.5)
    options.add_argument("what", choices=["describe", "matmul", "copy", "attention"])
    options.add_argument("shapes", nargs="*")
    args = options.parse_args()
    on_gpu = args.device.startswith("cuda")
    if args.what == "describe":
        print(torch.__version__, torch.cuda.get_device_name(args.device) if on_gpu else "cpu", sep="\t")
    torch.manual_seed(1)
    drawn = lambda *sizes: torch.randn(*sizes, device=args.device, dtype=torch.bfloat16)
    for shape in args.shapes:
        {"matmul": matmul, "copy": copy, "attention": attention}[args.what](
            shape, drawn, torch.cuda.synchronize if on_gpu else lambda: None, args.seconds)


main()
