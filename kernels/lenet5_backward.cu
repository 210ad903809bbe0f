// LeNet-5 backward through its convolutions, and the linear layers' weight gradients: see
// lenet5.cuh.

#include "lenet5.cuh"

// On a multiprocessor, for the compiler; doubles need the registers of one or two.
constexpr int BLOCKS = sizeof(real) == 4 ? 4 : 1;

// Reals from row to row, such that the 25 taps of a filter lie in different banks.
constexpr int PICTURE_ROW = 37, POOLED_ROW = 19, POOLED_PLANE = POOLED1 * POOLED_ROW;
constexpr int LIST = 28;                              // 25 windows in whole packs
constexpr int OUTPUTS2 = 2 * POOLED2;                 // conv2 has 10x10 outputs
constexpr int DENSE_ROW = 12, DENSE_PLANE = OUTPUTS2 * DENSE_ROW + 4;
constexpr int CHANNELS = 2;                           // of conv1 that a block owns
constexpr int WARPS = 8;

// What a block that goes backward through the convolutions keeps of a sample. Lists have a gradient
// and a place for each pooling window, first the gradients of the greatest outputs, then where the
// taps of these outputs begin in the layer's input.
struct alignas(16) Convolutions {
    real dense[MOST_CHANNELS2 * DENSE_PLANE];         // gradients of conv2's outputs
    real grads2[MOST_CHANNELS2 * LIST];
    real grads1[CHANNELS * WINDOWS1];
    int places2[MOST_CHANNELS2 * LIST];
    int places1[CHANNELS * WINDOWS1];                 // -1 where none passes a gradient
    real weight[CHANNELS * MOST_CHANNELS2 * TAPS];    // of conv2, channel of conv1 by channel
    real pooled[CHANNELS * POOLED_PLANE];
    real picture[PADDED * PICTURE_ROW];
};

constexpr int TILE_ROWS = 16, TILE_COLUMNS = 32, TILE = TILE_ROWS * TILE_COLUMNS;

// What a block that owns a tile of a linear layer's gradients keeps: each warp's sums.
struct alignas(16) TileSums {
    real weight[WARPS][TILE];
    real bias[WARPS][TILE_ROWS];
};

union BackwardMemory {
    Convolutions convolutions;
    TileSums tile;
};

// Sets what stays as it is from sample to sample, zeros above all.
__device__ inline void prepare(Convolutions& m, const real* weight2, Network network, int first) {
    const int filters = MOST_CHANNELS2 * TAPS;
    for (int i = threadIdx.x; i < MOST_CHANNELS2 * DENSE_PLANE; i += blockDim.x) m.dense[i] = 0;
    for (int i = threadIdx.x; i < MOST_CHANNELS2 * LIST; i += blockDim.x) {
        m.grads2[i] = 0;
        m.places2[i] = 0;
    }
    for (int i = threadIdx.x; i < CHANNELS * filters; i += blockDim.x) {
        const int c = first + i / filters, k = i % filters / TAPS;
        const int at = (k * network.channels1 + c) * TAPS + i % TAPS;
        m.weight[i] = k < network.channels2 ? weight2[at] : 0;
    }
}

// Lays out what conv1 gave and the gradients that reach conv2's outputs.
__device__ inline void load_sample(Convolutions& m, const real* pooled1, const uint8* places1,
                                   const real* pooled2_grad, const uint8* places2, int channels2) {
    for (int i = threadIdx.x; i < CHANNELS * WINDOWS1; i += blockDim.x) {
        const int y = i % WINDOWS1 / POOLED1, x = i % POOLED1, place = places1[i];
        m.pooled[i / WINDOWS1 * POOLED_PLANE + y * POOLED_ROW + x] = pooled1[i];
        const int corner = (2 * y + place / 2) * PICTURE_ROW + 2 * x + place % 2;
        m.places1[i] = place == CLOSED ? -1 : corner;
    }
    for (int i = threadIdx.x; i < channels2 * WINDOWS2; i += blockDim.x) {
        const int k = i / WINDOWS2, window = i % WINDOWS2, place = places2[i];
        const int y = 2 * (window / POOLED2), x = 2 * (window % POOLED2);
        const real grad = place == CLOSED ? 0 : pooled2_grad[i];
        m.grads2[k * LIST + window] = grad;
        m.places2[k * LIST + window] =
            place == CLOSED ? 0 : (y + place / 2) * POOLED_ROW + x + place % 2;
        real* outputs = m.dense + k * DENSE_PLANE + y * DENSE_ROW + x;
        *(Two*)outputs = {place == 0 ? grad : 0, place == 1 ? grad : 0};
        *(Two*)(outputs + DENSE_ROW) = {place == 2 ? grad : 0, place == 3 ? grad : 0};
    }
}

// The gradients of row y of conv1's pooled outputs, for both channels: lanes 0 to 15 own a channel
// of conv2 each and go along its rows, lanes 16 to 31 do so for the second channel of conv1.
// Closed windows get none, and a place that may be read.
__device__ inline void pooled_grads(Convolutions& m, int y) {
    const int lane = threadIdx.x % 32, k = lane % 16;
    real sum[16] = {};
#pragma unroll 1
    for (int tap_y = max(0, y - OUTPUTS2 + 1); tap_y <= min(4, y); ++tap_y) {
        const Four* row = (const Four*)(m.dense + k * DENSE_PLANE + (y - tap_y) * DENSE_ROW);
        const Four grads[3] = {row[0], row[1], row[2]};
        real weight[5];
#pragma unroll
        for (int tap = 0; tap < 5; ++tap) weight[tap] = m.weight[lane * TAPS + tap_y * 5 + tap];
#pragma unroll
        for (int tap = 0; tap < 5; ++tap) {
#pragma unroll
            for (int x = 0; x < OUTPUTS2; ++x) {
                sum[x + tap] += grads[x / 4].at[x % 4] * weight[tap];
            }
        }
    }
    sum_lanes<16, 16>(sum);
    if (k >= POOLED1) return;
    const int at = lane / 16 * WINDOWS1 + y * POOLED1 + k;
    const bool open = m.places1[at] >= 0;
    m.grads1[at] = open ? sum[0] : 0;
    if (!open) m.places1[at] = 0;
}

// Adds the products of four windows' gradients with what lies under a tap, in as many planes as
// there are sums, and the gradients to `bias`.
template <int PLANES>
__device__ inline void add_windows(const real* grads, const int* places, const real* tap,
                                   real (&sum)[PLANES], real& bias) {
    const Four grad = *(const Four*)grads;
    const FourPlaces place = *(const FourPlaces*)places;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int c = 0; c < PLANES; ++c) sum[c] += grad.at[i] * tap[c * POOLED_PLANE + place.at[i]];
        bias += grad.at[i];
    }
}

// A lane's sums over all of the block's samples: it owns a tap of two of conv2's filters, for both
// channels, and the same tap of conv1's two filters for some of the windows.
struct Sums {
    real weight2[2][CHANNELS], bias2[2], weight1[CHANNELS][1], bias1[CHANNELS];

    __device__ void add2(const Convolutions& m, int channels2) {
        const int lane = threadIdx.x % 32, tap = lane < TAPS ? lane : 0;
        const real* under = m.pooled + tap / 5 * POOLED_ROW + tap % 5;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int k = threadIdx.x / 32 + i * WARPS;
            if (k >= channels2) continue;
#pragma unroll 1
            for (int at = k * LIST; at < (k + 1) * LIST; at += 4) {
                add_windows(m.grads2 + at, m.places2 + at, under, weight2[i], bias2[i]);
            }
        }
    }

    __device__ void add1(const Convolutions& m) {
        const int lane = threadIdx.x % 32, tap = lane < TAPS ? lane : 0;
        const real* under = m.picture + tap / 5 * PICTURE_ROW + tap % 5;
        for (int window = threadIdx.x / 32 * 4; window < WINDOWS1; window += 4 * WARPS) {
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) {
                const int at = c * WINDOWS1 + window;
                add_windows(m.grads1 + at, m.places1 + at, under, weight1[c], bias1[c]);
            }
        }
    }

    // Writes the block's gradients to its places in the convolutions' vector.
    __device__ void write(Convolutions& m, real* out, Network network, int first) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < 2 * CHANNELS; ++i) {
            const int k = warp + i / CHANNELS * WARPS, c = i % CHANNELS;
            if (k >= network.channels2) continue;
            const int at = network.weight2() + (k * network.channels1 + first + c) * TAPS + lane;
            if (lane < TAPS) out[at] = weight2[i / CHANNELS][c];
            if (lane == TAPS && c == 0 && first == 0) {
                out[network.bias2() + k] = bias2[i / CHANNELS];
            }
        }
        // conv1's gradients of each warp, those of a bias last; m.dense is no longer needed.
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) {
            const int at = (warp * CHANNELS + c) * 32 + lane;
            m.dense[at] = lane < TAPS ? weight1[c][0] : bias1[c];
        }
        __syncthreads();
        if (warp >= CHANNELS || lane > TAPS) return;
        real sum = 0;
        for (int i = 0; i < WARPS; ++i) sum += m.dense[(i * CHANNELS + warp) * 32 + lane];
        const int channel = first + warp;
        out[lane < TAPS ? channel * TAPS + lane : network.bias1() + channel] = sum;
    }
};

// A linear layer, as far as its gradients go: outputs (rows) by inputs (columns), the gradients of
// the outputs `pitch` apart from sample to sample; `weight` says where its parameters lie.
struct Layer {
    const real* grads;
    const real* inputs;
    int rows, columns, pitch, weight;

    __device__ int tiles_wide() const { return (columns + TILE_COLUMNS - 1) / TILE_COLUMNS; }

    __device__ int tiles() const {
        return (rows + TILE_ROWS - 1) / TILE_ROWS * tiles_wide();
    }

    // Sums a 4x4 part of a tile, and its rows' biases, over a warp's samples, in order.
    __device__ void add(TileSums& m, int tile, int batch) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int y = lane / 8 * 4, x = lane % 8 * 4;
        const int row = tile / tiles_wide() * TILE_ROWS + y;
        const int column = tile % tiles_wide() * TILE_COLUMNS + x;
        const int each = (batch + WARPS - 1) / WARPS, begin = warp * each;
        real sum[4][4] = {}, bias[4] = {};
        if (row < pitch && column < columns) {
            const real* left = grads + (int64)begin * pitch + row;
            const real* right = inputs + (int64)begin * columns + column;
#pragma unroll 4
            for (int n = begin; n < min(batch, begin + each); ++n) {
                const Four grad = *(const Four*)left, input = *(const Four*)right;
                left += pitch;
                right += columns;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[i][j] += grad.at[i] * input.at[j];
                    bias[i] += grad.at[i];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            Four four;
#pragma unroll
            for (int j = 0; j < 4; ++j) four.at[j] = sum[i][j];
            *(Four*)(m.weight[warp] + (y + i) * TILE_COLUMNS + x) = four;
            if (x == 0) m.bias[warp][y + i] = bias[i];
        }
    }

    // Joins the warps' sums; returns whether the thread's gradients are all finite.
    __device__ bool write(const TileSums& m, int tile, real* out) const {
        const int first_row = tile / tiles_wide() * TILE_ROWS;
        const int first_column = tile % tiles_wide() * TILE_COLUMNS;
        bool finite = true;
        for (int i = threadIdx.x; i < TILE + TILE_ROWS; i += blockDim.x) {
            const bool is_bias = i >= TILE;
            const int row = first_row + (is_bias ? i - TILE : i / TILE_COLUMNS);
            const int column = first_column + (is_bias ? 0 : i % TILE_COLUMNS);
            if (row >= rows || column >= columns || (is_bias && first_column > 0)) continue;
            real sum = 0;
#pragma unroll
            for (int warp = 0; warp < WARPS; ++warp) {
                sum += is_bias ? m.bias[warp][i - TILE] : m.weight[warp][i];
            }
            const int at = is_bias ? rows * columns + row : row * columns + column;
            out[weight + at] = sum;
            finite = finite && is_finite(sum);
        }
        return finite;
    }
};

extern "C" __global__ void __launch_bounds__(256, BLOCKS)
lenet5_backward(const uint8* __restrict__ images, const int64* __restrict__ indices,
                const real* __restrict__ scale, const real* __restrict__ shift,
                const real* __restrict__ parameters, const real* __restrict__ pooled1,
                const uint8* __restrict__ places1, const real* __restrict__ pooled2,
                const uint8* __restrict__ places2, const real* __restrict__ pooled2_grad,
                const real* __restrict__ hidden1, const real* __restrict__ hidden2,
                const real* __restrict__ grads1, const real* __restrict__ grads2,
                const real* __restrict__ grads3, real* __restrict__ partials,
                real* __restrict__ grads, int64* __restrict__ failed,
                const int64* __restrict__ step, int64 items, int parts, int batch, int channels1,
                int channels2, int features1, int features2, int classes) {
    __shared__ BackwardMemory memory;
    const Network network = {channels1, channels2, features1, features2, classes};
    int tile = (int)blockIdx.x - parts * (channels1 / CHANNELS);
    if (tile >= 0) {
        const int inputs = network.inputs();
        Layer layer = {grads1, pooled2, features1, inputs, features1, network.weight3()};
        if (tile >= layer.tiles()) {
            tile -= layer.tiles();
            layer = {grads2, hidden1, features2, features1, features2, network.weight4()};
        }
        if (layer.grads == grads2 && tile >= layer.tiles()) {
            tile -= layer.tiles();
            const int pitch = (classes + 3) / 4 * 4;
            layer = {grads3, hidden2, classes, features2, pitch, network.weight5()};
        }
        layer.add(memory.tile, tile, batch);
        __syncthreads();
        if (!layer.write(memory.tile, tile, grads)) set_failed(failed, step[0]);
        return;
    }
    Convolutions& m = memory.convolutions;
    const int part = blockIdx.x % parts, first = blockIdx.x / parts * CHANNELS;
    const real times = scale[0], plus = shift[0];
    Sums sums = {};
    prepare(m, parameters + network.weight2(), network, first);
    for (int64 n = part; n < batch; n += parts) {
        const int64 item = indices[n], at1 = (n * channels1 + first) * WINDOWS1;
        const int64 at2 = n * network.inputs();
        __syncthreads();  // what is overwritten now has been read
        for (int i = threadIdx.x; i < PADDED * PADDED; i += blockDim.x) {
            m.picture[i / PADDED * PICTURE_ROW + i % PADDED] =
                pixel(images, item, items, times, plus, i);
        }
        load_sample(m, pooled1 + at1, places1 + at1, pooled2_grad + at2, places2 + at2, channels2);
        __syncthreads();
        for (int y = threadIdx.x / 32; y < POOLED1; y += WARPS) pooled_grads(m, y);
        sums.add2(m, channels2);
        __syncthreads();
        sums.add1(m);
    }
    sums.write(m, partials + (int64)part * network.convolutions(), network, first);
}
