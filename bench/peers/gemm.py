"""The GEMM peak P: torch.mm of 4096 × 768 × 3072."""

import time

import torch

from line import answer_lines

SIZES = 4096, 768, 3072
kept = {}


def multiply(dtype, device, threads, times=8):
    """FLOP/s of some products in a row."""
    torch.set_num_threads(threads)
    rows, inner, columns = SIZES
    if (dtype, device) not in kept:
        kept[dtype, device] = [torch.randn(shape, device=device).to(dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
                               for shape in ((rows, inner), (inner, columns))]
    a, b = kept[dtype, device]
    torch.mm(a, b)
    if device != "cpu":
        times *= 50
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(times):
        torch.mm(a, b)
    if device != "cpu":
        torch.cuda.synchronize()
    return {"flops": 2 * rows * inner * columns * times / (time.perf_counter() - begin)}


answer_lines({"gemm": multiply})
