"""Seconds for the singular values of HEADS matrices [ROWS, DIM] of float32 in memory, one after the other.

    svd.py torch|numpy HEADS ROWS DIM THREADS
"""
import json
import sys
import time

import numpy


def main():
    which, (heads, rows, dim, threads) = sys.argv[1], map(int, sys.argv[2:6])
    x = numpy.random.default_rng(42).standard_normal((heads, rows, dim), dtype=numpy.float32) / (1 + 9 * numpy.arange(dim, dtype=numpy.float32) / dim)
    if which == "torch":
        import torch
        torch.set_num_threads(threads)
        x = torch.from_numpy(x)
        values = torch.linalg.svdvals
    else:
        values = lambda head: numpy.linalg.svd(head, compute_uv=False)
    values(x[0])  # warm
    start = time.perf_counter()
    for head in x:
        s = values(head)
        pr = s.sum() ** 2 / (s * s).sum()
    seconds = time.perf_counter() - start
    print(json.dumps({"value": seconds, "pr_of_last": float(pr)}))


main()
