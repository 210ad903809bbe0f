"""What kernels ask of memory, counted in the emulator's profile mode.

The counts are exact, so that one that changes shows a change of a kernel's accesses.
"""

from __future__ import annotations

import numpy as np
import pytest
from available import backend_or_skip

import gpucnn
from gpucnn import emulator
from gpucnn.backends.contract.checks import Array
from gpucnn.emulator import Profile
from gpucnn.training.profile import profile_step

SECTORS = {
    # kernel: sectors of 32 bytes that its loads and its stores touch, and the least for stores
    "conv2d_forward_16x128": (1264, 256, 256),  # stores 2 * 16 * 8 * 8 floats
    "conv2d_backward_weight_16x64": (1152, 336, 304),  # 2 splits of 16 rows of 73 floats and 3 more
    "sum_splits": (304, 178, 152),  # the pitch of 76 floats shifts rows of 72
    "conv2d_backward_input_16x128": (2500, 128, 128),  # 2 * 8 * 8 * 8 floats
    "max_pool2d_forward": (256, 192, 192),  # loads 2 * 16 * 8 * 8 floats, each once
    "linear_forward_32x32": (640, 128, 128),  # 32 * 32 floats
    "linear_backward_weight_32x32": (
        672,
        272,
        272,
    ),  # 32 * 64 floats, and 32 of the bias one by one
    "linear_backward_input_32x32": (512, 256, 256),  # 32 * 64 floats
}


@pytest.fixture(scope="module")
def profile() -> Profile:
    backend = backend_or_skip("emulated")
    kernels = (name.rpartition("_") for name in SECTORS if name[-1].isdigit())
    backend.variant = {product: tile for product, _, tile in kernels}  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)

    def array(*shape: int) -> Array:
        return backend.asarray(rng.standard_normal(shape))

    images, filters, x, weight = array(2, 8, 8, 8), array(16, 8, 3, 3), array(32, 64), array(32, 64)
    with emulator.profiling() as found:
        features = backend.conv2d(images, filters, array(16), padding=1)
        backend.conv2d_backward(features, images, filters, padding=1)
        backend.max_pool2d(features, 2, return_indices=True)
        scores = backend.linear(x, weight, array(32))
        backend.linear_backward(scores, x, weight)
    return found


@pytest.mark.parametrize("name", SECTORS)
def test_sectors_of_global_memory(profile: Profile, name: str) -> None:
    kernel = profile.kernel(name)
    stores = kernel.global_store
    assert (kernel.global_load.sectors, stores.sectors, stores.least_sectors) == SECTORS[name]
    assert min(kernel.global_load.efficiency, stores.efficiency) > 0.8


def test_every_kernel_is_in_the_table(profile: Profile) -> None:
    assert set(profile.kernels) == set(SECTORS)


@pytest.mark.parametrize("name", SECTORS)
def test_slabs_are_stored_and_read_without_bank_conflicts(profile: Profile, name: str) -> None:
    kernel = profile.kernel(name)
    for accesses in (kernel.shared_load, kernel.shared_store):
        assert accesses.wavefronts == accesses.least_wavefronts
        assert accesses.requests or not name.endswith(("128", "64", "32"))


LENET5 = {
    # the same for a step with four images, whose weights lenet5_fc_2 reads twice for every two
    "lenet5_conv_forward": (1984, 1334),
    "lenet5_fc_2": (29750, 454),
    "lenet5_backward": (7376, 9128),
    "lenet5_finish": (1292, 324),
}


def test_sectors_and_bank_conflicts_of_a_step_of_lenet5() -> None:
    backend_or_skip("emulated")
    step = profile_step(gpucnn.models.lenet5(seed=0), 4)
    for name, sectors in LENET5.items():
        kernel = step.kernel(name)
        assert (kernel.global_load.sectors, kernel.global_store.sectors) == sectors, name
        assert min(kernel.global_load.efficiency, kernel.global_store.efficiency) > 0.8, name
        shared = (kernel.shared_load, kernel.shared_store)
        least = sum(accesses.least_wavefronts for accesses in shared)
        assert sum(accesses.wavefronts for accesses in shared) <= 1.1 * least, name
