// The gradients of a training step of LeNet-5 in four launches; operation by operation it takes
// thirty, and at its sizes a GPU waits for launches. The network: 5x5 convolution with padding 2,
// ReLU, 2x2 max-pooling, 5x5 convolution, ReLU, 2x2 max-pooling, three linear layers with ReLU
// between them, the mean cross-entropy; pictures of one channel, 28 by 28.
//
// lenet5_convolve   a block a sample: both convolutions and poolings.
// lenet5_linear_N   a block N samples: the linear layers, the loss, and backward to the gradient of
//                   the first one's input. N decides how often the weights are read, no result.
// lenet5_backward   two kinds of blocks: the convolutions' backward, for every part-th sample and
//                   two channels of the first convolution, and 16x32 tiles of the linear layers'
//                   weight gradients over the whole batch.
// lenet5_finish     adds up the parts of the convolutions' gradients, the loss and the metrics.
//
// Shapes: images (items, 1, 28, 28) of bytes; indices, the batch's items, and targets (batch);
// scale and shift (1), what makes a pixel a number; parameters and grads flat, layer by layer,
// weight before bias (Network); pooled1 and places1 (batch, channels1, 14, 14), pooled2, places2
// and pooled2_grad (batch, channels2, 5, 5); hidden1 and grads1 (batch, features1), hidden2 and
// grads2 (batch, features2), where grads are those of the outputs before ReLU; grads3 (batch,
// classes, rounded up to a multiple of 4); losses and right (batch); partials (parts, parameters of
// the convolutions); totals (2), failed (1) and step (1) as in metrics.cu and finite.cu.
//
// A place says which of a window's four outputs was the greatest, the first of equal ones in
// row-major order or the first NaN; CLOSED, that it was not positive and passes no gradient. An
// index outside the items gives NaN pixels, a class outside the row a NaN loss. A loss or gradient
// that is not finite writes step to failed, unless a step stands there.
//
// channels1 must be even, channels2 and the features multiples of 4: filters and rows are read in
// packs (gpucnn/backends/lenet5.py has the limits). How sums are divided follows from the batch
// size alone: samples by part, and within a block warps and lanes, joined by fixed trees.

constexpr int SIDE = 28, PADDED = 32, POOLED1 = 14, POOLED2 = 5, TAPS = 25;
constexpr int WINDOWS1 = POOLED1 * POOLED1, WINDOWS2 = POOLED2 * POOLED2;
constexpr int MOST_CHANNELS1 = 6, MOST_CHANNELS2 = 16, MOST_INPUTS = MOST_CHANNELS2 * WINDOWS2;
constexpr int MOST_FEATURES1 = 128, MOST_FEATURES2 = 96, MOST_CLASSES = 32;
constexpr int CLOSED = 4;
constexpr unsigned int WARP = 0xffffffffu;

// Numbers that travel together, 16 bytes at a time.
struct alignas(16) Four {
    real at[4];
};

struct alignas(2 * sizeof(real)) Two {
    real at[2];
};

struct alignas(16) FourPlaces {
    int at[4];
};

// The network's sizes, and where its parameters lie in the flat vectors.
struct Network {
    int channels1, channels2, features1, features2, classes;

    __device__ int inputs() const { return channels2 * WINDOWS2; }
    __device__ int bias1() const { return channels1 * TAPS; }
    __device__ int weight2() const { return bias1() + channels1; }
    __device__ int bias2() const { return weight2() + channels2 * channels1 * TAPS; }
    __device__ int convolutions() const { return bias2() + channels2; }
    __device__ int weight3() const { return convolutions(); }
    __device__ int weight4() const { return weight3() + features1 * (inputs() + 1); }
    __device__ int weight5() const { return weight4() + features2 * (features1 + 1); }
};

// A pixel of a picture that is padded by 2 and made numbers.
__device__ inline real pixel(const uint8* images, int64 item, int64 items, real scale, real shift,
                             int at) {
    const int y = at / PADDED - 2, x = at % PADDED - 2;
    if (y < 0 || y >= SIDE || x < 0 || x >= SIDE) return 0;
    if (item < 0 || item >= items) return not_a_number();
    return images[item * (SIDE * SIDE) + y * SIDE + x] * scale + shift;
}

// Adds each of COUNT numbers over LANES neighbouring lanes. A lane is left with COUNT / LANES of
// the sums, in values[0], ...: the first lane with the first ones. Half of the numbers go to the
// other half of the lanes, and so on: COUNT shuffles, where summing one at a time takes
// COUNT log LANES.
template <int LANES, int COUNT>
__device__ inline void sum_lanes(real* values) {
    if constexpr (LANES > 1) {
        constexpr int HALF = COUNT / 2;
        const bool second = threadIdx.x & (LANES / 2);
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const real kept = second ? values[HALF + i] : values[i];
            const real given = second ? values[i] : values[HALF + i];
            values[i] = kept + __shfl_xor_sync(WARP, given, LANES / 2);
        }
        sum_lanes<LANES / 2, HALF>(values);
    }
}
