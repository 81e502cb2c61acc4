"""The GEMM peak P, 4096 × 768 × 3072: the faster of torch.mm and, in fp32 on a CPU, oneDNN's product, which torch.mm does not call."""

import time

import torch

from line import answer_lines

SIZES = 4096, 768, 3072
kept = {}


def seconds(product, times, device):
    """Of some products in a row."""
    product()
    if device != "cpu":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(times):
        product()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def multiply(dtype, device, threads, times=6):
    """FLOP/s."""
    torch.set_num_threads(threads)
    rows, inner, columns = SIZES
    if (dtype, device) not in kept:
        kept[dtype, device] = [torch.randn(shape, device=device).to(dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
                               for shape in ((rows, inner), (inner, columns))]
    a, b = kept[dtype, device]
    if device != "cpu":
        times *= 50
    least = seconds(lambda: torch.mm(a, b), times, device)
    if device == "cpu" and dtype == "fp32":
        least = min(least, seconds(lambda: torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], ""), times, device))
    return {"flops": 2 * rows * inner * columns * times / least}


answer_lines({"gemm": multiply})
