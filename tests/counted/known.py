"""Launches whose counts are known on paper. Their kernels are in known.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

N = np.int32


def f(count: int, dtype: str = "float32") -> Any:
    return np.asarray(np.arange(count) % 7, dtype)


# Row: name of the case, kernel, threads, bytes of dynamic shared memory, arguments, and the counts
# by kind: requests, lanes, sectors or wavefronts, the least of them, and of atomics the serial
# ones. A kind that is missing has none.
ROW = (1, 32, 4, 4)
FAR = np.array([(i * 37) % 64 * 8 for i in range(32)], np.int32)  # each in a sector of its own
PERMUTED = np.random.default_rng(0).permutation(32).astype(np.int32)
CASES: list[tuple[Any, ...]] = [
    ("copy", "copy", 32, 0, (f(32), f(32)), {"global_load": ROW, "global_store": ROW}),
    *((f"stride {s}", "strided", 32, 0, (f(32 * s), f(32), N(s)),
       {"global_load": (1, 32, min(32, 4 * s), 4), "global_store": ROW}) for s in (2, 8, 32)),
    ("off by 4 bytes", "shifted", 32, 0, (f(33), f(33), N(1)),
     {"global_load": (1, 32, 5, 4), "global_store": (1, 32, 5, 4)}),
    ("off by 32 bytes", "shifted", 32, 0, (f(40), f(40), N(8)),
     {"global_load": ROW, "global_store": ROW}),
    ("float4", "copy_float4", 32, 0, (f(128), f(128)),
     {"global_load": (1, 32, 16, 16), "global_store": (1, 32, 16, 16)}),
    ("elements of a float4", "change_float4", 32, 0, (f(128), f(128)),
     {"global_load": (1, 32, 16, 16), "global_store": (1, 32, 16, 16)}),
    ("double", "copy_double", 32, 0, (f(32, "float64"), f(32, "float64")),
     {"global_load": (1, 32, 8, 8), "global_store": (1, 32, 8, 8)}),
    ("bytes", "copy_bytes", 32, 0, (f(32, "uint8"), f(32, "uint8")),
     {"global_load": (1, 32, 1, 1), "global_store": (1, 32, 1, 1)}),
    ("struct of 3 floats", "copy_struct", 32, 0, (f(96), f(96)),  # 3 requests, each over 384 bytes
     {"global_load": (3, 96, 36, 12), "global_store": (3, 96, 36, 12)}),
    ("struct of 2 floats", "copy_pair", 32, 0, (f(64), f(64)),  # 2 requests, each over 256 bytes
     {"global_load": (2, 64, 16, 8), "global_store": (2, 64, 16, 8)}),
    # 144 bytes: in the emulator such an array begins at an odd multiple of 16 bytes.
    ("array of 36", "copy", 32, 0, (f(36), f(36)), {"global_load": ROW, "global_store": ROW}),
    ("broadcast", "broadcast", 32, 0, (f(32), f(32)),
     {"global_load": (1, 32, 1, 1), "global_store": ROW}),
    ("gather, far", "gather", 32, 0, (f(512), FAR, f(32)),
     {"global_load": (2, 64, 36, 8), "global_store": ROW}),
    ("gather, permuted", "gather", 32, 0, (f(32), PERMUTED, f(32)),
     {"global_load": (2, 64, 8, 8), "global_store": ROW}),
    ("odd lanes", "odd_lanes", 32, 0, (f(32), f(32)),
     {"global_load": (1, 16, 4, 2), "global_store": (1, 16, 4, 2)}),
    ("if and else", "if_else", 32, 0, (f(64), f(32)),
     {"global_load": (2, 32, 8, 4), "global_store": ROW}),
    # Round i: lanes i to 31, so 32 - i lanes in 4 - i // 8 sectors; least: ceil((32 - i) / 8).
    ("rounds by lane", "rounds_by_lane", 32, 0, (f(1024), f(32)),
     {"global_load": (32, 528, 8 * (4 + 3 + 2 + 1), 8 * (1 + 2 + 3 + 4)), "global_store": ROW}),
    # Each round: 8 lanes, 4 apart: 4 sectors for 32 bytes.
    ("skips by lane", "skips_by_lane", 32, 0, (f(512), f(32)),
     {"global_load": (16, 128, 64, 16), "global_store": ROW}),
    # Rounds 0, 1, 2: 24, 16, 8 lanes.
    ("break by lane", "break_by_lane", 32, 0, (f(512), f(32)),
     {"global_load": (3, 48, 6, 6), "global_store": ROW}),
    # 8 rounds: all lanes once, then half of them, every other one.
    ("continue by lane", "continue_by_lane", 32, 0, (f(512), f(32)),
     {"global_load": (16, 384, 64, 48), "global_store": ROW}),
    # Half warps: rounds of 12, 8, 4 lanes (2 sectors each), and 16 lanes in 2. Then the whole warp:
    # 24, 16, 8 lanes in 4 sectors each, and 32 in 4.
    ("calls", "calls", 32, 0, (f(160), f(32)),
     {"global_load": (12, 2 * (24 + 16) + 80, 2 * 8 + 16, 2 * (2 + 1 + 1 + 2) + 3 + 2 + 1 + 4),
      "global_store": ROW}),
    ("local array", "local_array", 32, 0, (f(32), f(32), N(3)),
     {"global_load": ROW, "global_store": ROW}),
    ("naive transpose", "transpose_naive", (32, 32), 0, (f(1024), f(1024)),
     {"global_load": (32, 1024, 128, 128), "global_store": (32, 1024, 1024, 128)}),
    *((f"transpose, rows of {width}", f"transpose_{width}", (32, 32), 0, (f(1024), f(1024)),
       {"global_load": (32, 1024, 128, 128), "global_store": (32, 1024, 128, 128),
        "shared_store": (32, 1024, 32, 32), "shared_load": (32, 1024, wavefronts, 32)})
      for width, wavefronts in ((32, 1024), (33, 32))),
    *((f"shared, stride {s}", "shared_step", 32, 128 * s, (f(32), f(32), N(s)),
       {"global_load": ROW, "global_store": ROW,
        "shared_load": (1, 32, n, 1), "shared_store": (1, 32, n, 1)})
      for s, n in ((1, 1), (2, 2), (3, 1), (4, 4), (32, 32))),
    ("shared broadcast", "shared_broadcast", 32, 0, (f(32), N(7)),
     {"global_store": ROW, "shared_load": (1, 32, 1, 1), "shared_store": (1, 32, 1, 1)}),
    ("shared pairs", "shared_pairs", 32, 0, (f(32),),
     {"global_store": ROW, "shared_load": (1, 32, 2, 1), "shared_store": (2, 64, 2, 2)}),
    *((f"shared double, stride {s}", "shared_double", 32, 256 * s, (f(32, "float64"), N(s)),
       {"global_store": (1, 32, 8, 8),
        "shared_load": (1, 32, n, 2), "shared_store": (1, 32, n, 2)})
      for s, n in ((1, 2), (2, 4), (4, 8))),
    *((f"shared float4, stride {s}", "shared_float4", 32, 512 * s, (f(128), N(s)),
       {"global_store": (1, 32, 16, 16),
        "shared_load": (1, 32, n, 4), "shared_store": (1, 32, n, 4)})
      for s, n in ((1, 4), (2, 8))),
    # Loads of the same words by pairs of lanes take half as many wavefronts.
    *((f"shared double, groups of {by}", "shared_double_groups", 32, 0, (f(32, "float64"), N(by)),
       {"global_store": (1, 32, 8, 8),
        "shared_load": (1, 32, n, n), "shared_store": (1, 32, 2, 2)})
      for by, n in ((1, 2), (2, 1), (16, 1), (32, 1))),
    *((f"shared float4, groups of {by}", "shared_float4_groups", 32, 0, (f(128), N(by)),
       {"global_store": (1, 32, 16, 16),
        "shared_load": (1, 32, n, n), "shared_store": (1, 32, 4, 4)})
      for by, n in ((1, 4), (2, 2), (4, 2), (32, 2))),
    ("shared float4, columns", "shared_float4_columns", 32, 0, (f(128),),
     {"global_store": (1, 32, 16, 16),
      "shared_load": (1, 32, 2, 2), "shared_store": (1, 32, 4, 4)}),
    ("shared or global", "shared_or_global", 32, 0, (f(32), f(32)),
     {"global_load": (1, 24, 3, 3), "shared_load": (1, 8, 1, 1),
      "global_store": ROW, "shared_store": (1, 32, 1, 1)}),
    ("atomic, one address", "add_to_one", 32, 0, (f(1, "int32"),),
     {"global_atomic": (1, 32, 1, 1, 32)}),
    ("atomic, by fours", "add_by_fours", 32, 0, (f(8, "int32"),),
     {"global_atomic": (1, 32, 1, 1, 4)}),
    ("atomic, shared", "shared_histogram", 32, 0, (f(8, "int32"),),
     {"shared_atomic": (1, 32, 1, 1, 4), "shared_store": (1, 8, 1, 1),
      "shared_load": (1, 8, 1, 1), "global_store": (1, 8, 1, 1)}),
    ("warp sum", "warp_sum", 32, 0, (f(32), f(1)),
     {"global_load": ROW, "global_store": (1, 1, 1, 1)}),
    # 8 warps store; halves 128, 64, 32 take 4, 2, 1 warps, then 16, 8, 4, 2, 1 lanes of one. Each
    # step is two loads and a store; one lane loads the sum.
    ("tree sum", "tree_sum", 256, 0, (f(256), f(1)),
     {"global_load": (8, 256, 32, 32), "global_store": (1, 1, 1, 1),
      "shared_store": (8 + 12, 256 + 255, 20, 20),
      "shared_load": (2 * 12 + 1, 2 * 255 + 1, 25, 25)}),
    # Rounds of 16 and of 32 lanes alternate; 9000 are more events than a trace holds.
    ("long loop", "long_loop", 64, 0, (f(192), f(64), N(9000)),
     {"global_load": (18000, 9000 * 32 + 9000 * 16, 72000, 9000 * 4 + 9000 * 2),
      "global_store": (2, 64, 8, 8)}),
    ("long wait", "long_wait", 32, 0, (f(128), f(32), N(9000)),
     {"global_load": (9001, 9032, 9004, 9004), "global_store": ROW}),
    ("__constant__ variable", "constant_variable", 32, 0, (f(32),), {"global_store": ROW}),
    # 0, 2, ... 62, and again: 64 floats in 8 sectors, of which 2 * 32 / 32 hold the distinct ones.
    ("__device__ variable", "device_variable", 32, 0, (f(32),),
     {"global_load": (1, 32, 8, 4), "global_store": ROW}),
]  # fmt: skip
