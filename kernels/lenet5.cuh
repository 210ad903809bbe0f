// The gradients of a training step of LeNet-5, in four launches. Layer by layer a step takes
// thirty, and at these sizes a GPU spends its time on launches.
//
// The network: conv1 (5x5, padding 2), ReLU, pool1 (2x2 max-pooling), conv2 (5x5), ReLU, pool2
// (2x2 max-pooling), fc1, ReLU, fc2, ReLU, fc3, mean cross-entropy. Images are 28x28, one channel.
//
// Data flow, with the launch that writes each array:
//   images -> pool1, argmax1 -> pool2, argmax2                       lenet5_conv_forward
//   pool2 -> fc1 -> fc2 -> fc3 -> losses, correct                    lenet5_fc_N
//   fc3_grad -> fc2_grad -> fc1_grad -> pool2_grad                   lenet5_fc_N
//   all of these -> grads of fc1, fc2, fc3; partials of conv1, conv2 lenet5_backward
//   partials -> grads of conv1, conv2; losses, correct -> totals     lenet5_finish
//
// Shapes, for a batch of N samples:
//   images             uint8 (items, 1, 28, 28)
//   indices, targets   int64 (N): the batch is images[indices], targets are classes
//   scale, shift       (1): a pixel becomes pixel * scale + shift
//   parameters, grads  flat, in the order of the layers; struct LeNet5 has the offsets. Each
//                      parameter begins at a multiple of 32 bytes; the padding is zero
//   pool1, argmax1     (N, channels1, 14, 14), after ReLU
//   pool2, argmax2     (N, channels2, 5, 5), after ReLU; pool2_grad likewise
//   fc1, fc2           (N, features1), (N, features2), after ReLU; fc3 stays in shared memory
//   fc1_grad, fc2_grad, fc3_grad   gradients of the outputs before ReLU; the rows of fc3_grad are
//                      padded with zeros to a multiple of PACK
//   losses, correct    (N): each sample's loss, and 1 if its greatest score is at its target
//   partials           (parts, conv_parameters): part p sums over the samples p, p + parts, ...;
//                      zero where the parameters have padding
//   totals             double (2): the sum of losses and the number of correct samples, added to
//   failed_step, step  int64 (1): as in finite.cu
//
// argmax is the position (0 to 3, row-major) of a window's maximum: the first of equal values, or
// the first NaN. It is CLOSED where the maximum is not positive: ReLU passes no gradient there.
// An index outside the images turns the pixels into NaN, a target outside the classes the loss. A
// loss or gradient that is NaN or infinite sets failed_step, unless it is set already.
//
// Results do not depend on the device: sums are split by the batch size alone (samples by part;
// within a block by warp and lane) and combined in a fixed order.

// gpucnn/backends/cuda/lenet5.py reads the constants that are written as `constexpr int NAME = n;`.
constexpr int IMAGE_SIZE = 28;  // height and width
constexpr int KERNEL_SIZE = 5;  // of both convolutions
constexpr int POOL1_SIZE = 14;  // height and width of the pooled outputs
constexpr int POOL2_SIZE = 5;

// The kernels' limits. The files assert the reasons: threads, lanes and shared memory of a block.
constexpr int MAX_CHANNELS1 = 6;
constexpr int MAX_CHANNELS2 = 16;
constexpr int MAX_FEATURES1 = 128;
constexpr int MAX_FEATURES2 = 96;
constexpr int MAX_CLASSES = 32;
// channels2, features1 and features2 are multiples of PACK: rows are read PACK reals at a time.
constexpr int PACK = 4;
constexpr int PACK_BYTES = 16;  // alignment of a pack, and so of parameters
// channels1 is a multiple of this: a block of lenet5_backward computes the gradients of so many
// channels of conv1.
constexpr int CHANNELS_PER_BLOCK = 2;
// The part of a fully connected layer's weight gradients that a block of lenet5_backward computes.
constexpr int TILE_ROWS = 16;
constexpr int TILE_COLUMNS = 32;
constexpr int FINISH_COLUMNS = 32;  // gradients that a block of lenet5_finish sums

constexpr int PADDING = 2;  // of conv1
constexpr int PADDED = IMAGE_SIZE + 2 * PADDING;
constexpr int KERNEL_AREA = KERNEL_SIZE * KERNEL_SIZE;
constexpr int POOL1_AREA = POOL1_SIZE * POOL1_SIZE, POOL2_AREA = POOL2_SIZE * POOL2_SIZE;
constexpr int MAX_INPUTS = MAX_CHANNELS2 * POOL2_AREA;  // of fc1
constexpr int CLOSED = 4;
constexpr int SHARED_BYTES = 48 * 1024;  // static shared memory of a block
constexpr unsigned int FULL_MASK = 0xffffffffu;  // all lanes of a warp

static_assert(2 * POOL1_SIZE == PADDED - KERNEL_SIZE + 1, "pool1 halves the outputs of conv1");
static_assert(2 * POOL2_SIZE == POOL1_SIZE - KERNEL_SIZE + 1, "pool2 halves the outputs of conv2");

// Values that are read and written at once.
struct alignas(PACK_BYTES) Real4 {
    real at[PACK];
};

struct alignas(2 * sizeof(real)) Real2 {
    real at[2];
};

struct alignas(PACK_BYTES) Int4 {
    int at[PACK];
};

// The network's sizes, and the offset of each weight and bias in the flat vectors, in elements.
// conv_parameters is the number of elements up to fc1's weights: the convolutions come first;
// fc3_pitch the number of elements in a row of fc3_grad.
struct LeNet5 {
    int channels1, channels2, features1, features2, classes, fc3_pitch;
    int conv1_weight, conv1_bias, conv2_weight, conv2_bias, conv_parameters;
    int fc1_weight, fc1_bias, fc2_weight, fc2_bias, fc3_weight, fc3_bias;

    __device__ int inputs() const { return channels2 * POOL2_AREA; }  // of fc1
};

// A thread's share of a padded image, in a block of THREADS threads. All of its pixels are loaded
// before the first is used, so that it waits for memory once; other loads may come in between.
template <int THREADS>
struct ImageShare {
    static constexpr int COUNT = PADDED * PADDED / THREADS;
    static_assert(PADDED * PADDED % THREADS == 0, "all threads have as many pixels");

    int thread;
    bool exists;
    int pixels[COUNT];

    __device__ explicit ImageShare(int thread) : thread(thread) {}

    // Where pixel j of the share lies in the padded image.
    __device__ int row(int j) const { return (j * THREADS + thread) / PADDED; }
    __device__ int column(int j) const { return (j * THREADS + thread) % PADDED; }

    __device__ bool inside(int j) const {
        const int y = row(j) - PADDING, x = column(j) - PADDING;
        return y >= 0 && y < IMAGE_SIZE && x >= 0 && x < IMAGE_SIZE;
    }

    __device__ void load(const uint8* images, int64 item, int64 items) {
        exists = item >= 0 && item < items;
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const int i = (row(j) - PADDING) * IMAGE_SIZE + column(j) - PADDING;
            pixels[j] = 0;
            if (exists && inside(j)) pixels[j] = images[item * (IMAGE_SIZE * IMAGE_SIZE) + i];
        }
    }

    // Writes the pixel as it counts to shared memory, whose rows are `pitch` reals apart.
    __device__ void store(real* image, int pitch, real scale, real shift) const {
        const real offset = exists ? shift : not_a_number();
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            image[row(j) * pitch + column(j)] = inside(j) ? pixels[j] * scale + offset : 0;
        }
    }
};

// Sums each of COUNT values over LANES neighbouring lanes. Each lane ends with COUNT / LANES of the
// sums in values[0], ...: the first lane with the first ones. Where lanes are more than values,
// LANES / COUNT neighbours end with the same sum. In each round a lane passes half of its values to
// its partner and keeps the other half. That takes COUNT shuffles, where a butterfly for each value
// takes COUNT log LANES.
template <int LANES, int COUNT>
__device__ inline void sum_lanes(real* values) {
    if constexpr (LANES > 1 && COUNT == 1) {
        values[0] += __shfl_xor_sync(FULL_MASK, values[0], LANES / 2);
        sum_lanes<LANES / 2, 1>(values);
    } else if constexpr (LANES > 1) {
        constexpr int HALF = COUNT / 2;
        const bool second = threadIdx.x & (LANES / 2);
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const real kept = second ? values[HALF + i] : values[i];
            const real passed = second ? values[i] : values[HALF + i];
            values[i] = kept + __shfl_xor_sync(FULL_MASK, passed, LANES / 2);
        }
        sum_lanes<LANES / 2, HALF>(values);
    }
}
