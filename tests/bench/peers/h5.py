"""MB/s at which h5py writes (synced) or reads (from the page cache) BYTES of float32 with checksums.

    h5.py write|read FILE BYTES
"""
import json
import os
import sys
import time

import h5py
import numpy


def write(path, x):
    start = time.perf_counter()
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=x, chunks=(1 << 18,), fletcher32=True)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - start


def read(path):
    start = time.perf_counter()
    with h5py.File(path) as f:
        f["x"][()]
    return time.perf_counter() - start


def main():
    what, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    x = numpy.random.default_rng(42).standard_normal(size // 4, dtype=numpy.float32)
    seconds = write(path, x)
    if what == "read":
        seconds = min(read(path) for _ in range(3))
    os.unlink(path)
    print(json.dumps({"value": x.nbytes / seconds / 1e6}))


main()
