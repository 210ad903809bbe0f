// The gradients of LeNet-5's parameters (lenet5.cuh), by two kinds of blocks. The first
// parts * channels1 / 2 blocks go backward through the convolutions (lenet5_conv_backward.cuh),
// the others own a tile of a fully connected layer's weight gradient (lenet5_fc_grads.cuh).

#include "lenet5.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;  // of a block
// Blocks on a multiprocessor that the compiler allots registers for; doubles take twice as many.
constexpr int BLOCKS = sizeof(real) == 4 ? 4 : 1;

#include "lenet5_conv_backward.cuh"
#include "lenet5_fc_grads.cuh"

union BackwardMemory {
    ConvMemory conv;
    TileMemory tile;
};

static_assert(sizeof(BackwardMemory) <= SHARED_BYTES, "limits channels1 and channels2");

extern "C" __global__ void __launch_bounds__(256, BLOCKS)
lenet5_backward(const uint8* __restrict__ images, const int64* __restrict__ indices,
                const real* __restrict__ scale, const real* __restrict__ shift,
                const real* __restrict__ parameters, const real* __restrict__ pool1,
                const uint8* __restrict__ argmax1, const real* __restrict__ pool2,
                const uint8* __restrict__ argmax2, const real* __restrict__ pool2_grad,
                const real* __restrict__ fc1, const real* __restrict__ fc2,
                const real* __restrict__ fc1_grad, const real* __restrict__ fc2_grad,
                const real* __restrict__ fc3_grad, real* __restrict__ partials,
                real* __restrict__ grads, int64* __restrict__ failed_step,
                const int64* __restrict__ step, LeNet5 net, int64 items, int parts, int batch) {
    __shared__ BackwardMemory memory;
    int tile = (int)blockIdx.x - parts * (net.channels1 / CHANNELS_PER_BLOCK);
    if (tile >= 0) {
        FcLayer layer = {fc1_grad, pool2, net.features1, net.inputs(), net.features1,
                         net.fc1_weight, net.fc1_bias};
        if (tile >= layer.tiles()) {
            tile -= layer.tiles();
            layer = {fc2_grad, fc1, net.features2, net.features1, net.features2,
                     net.fc2_weight, net.fc2_bias};
        }
        if (tile >= layer.tiles()) {
            tile -= layer.tiles();
            layer = {fc3_grad, fc2, net.classes, net.features2, net.fc3_pitch,
                     net.fc3_weight, net.fc3_bias};
        }
        layer.sum_samples(memory.tile, tile, batch);
        __syncthreads();
        if (!layer.write(memory.tile, tile, grads)) set_failed(failed_step, step[0]);
        return;
    }
    ConvMemory& m = memory.conv;
    const int part = blockIdx.x % parts, first = blockIdx.x / parts * CHANNELS_PER_BLOCK;
    const real factor = scale[0], offset = shift[0];
    const int outputs2 = net.inputs();
    const WeightShare weights(parameters + net.conv2_weight, net, first);
    clear(m);
    weights.store(m);
    ConvGrads sums = {};
    for (int n = part; n < batch; n += parts) {
        const int64 item = indices[n], at1 = ((int64)n * net.channels1 + first) * POOL1_AREA;
        const int64 at2 = (int64)n * outputs2;
        // An index that depends on n: without it, addresses are computed before the loop, and there
        // are not enough registers for them.
        SampleShare share(threadIdx.x + (n < 0));
        share.load(pool1 + at1, argmax1 + at1, pool2_grad + at2, argmax2 + at2, outputs2);
        share.image.load(images, item, items);
        __syncthreads();  // the previous sample has been read
        share.store(m, factor, offset, outputs2);
        __syncthreads();
        for (int y = threadIdx.x / 32; y < POOL1_SIZE; y += WARPS) set_pool1_grad(m, y);
        sums.add_conv2(m, net.channels2);
        __syncthreads();
        sums.add_conv1(m);
    }
    sums.write(m, partials + (int64)part * net.conv_parameters, net, first);
}
