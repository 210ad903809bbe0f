// The weight and bias gradients of LeNet-5's fully connected layers, in tiles: part of
// lenet5_backward.cu.

constexpr int TILE = TILE_ROWS * TILE_COLUMNS;

// Shared memory of a block that owns a tile: the sums of each warp.
struct alignas(16) TileMemory {
    real weight[WARPS][TILE];
    real bias[WARPS][TILE_ROWS];
};

static_assert(TILE_ROWS * TILE_COLUMNS == 32 * 4 * 4, "each lane sums 4x4 elements of a tile");
static_assert(PACK == 4 && TILE_COLUMNS == 8 * 4, "a row of a tile is eight packs");

// dw = dy^T x and db = sums of dy over the batch, for a layer of `rows` outputs and `columns`
// inputs: grads (N, pitch) is dy, inputs (N, columns) x; weight and bias are their offsets.
struct FcLayer {
    const real* grads;
    const real* inputs;
    int rows, columns, pitch, weight, bias;

    __device__ int tiles_wide() const { return (columns + TILE_COLUMNS - 1) / TILE_COLUMNS; }

    __device__ int tiles() const { return (rows + TILE_ROWS - 1) / TILE_ROWS * tiles_wide(); }

    // Each lane sums 4x4 elements of the tile, and the biases of its rows, over its warp's share of
    // the samples, in order.
    __device__ void sum_samples(TileMemory& m, int tile, int batch) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int y = lane / 8 * 4, x = lane % 8 * 4;
        const int row = tile / tiles_wide() * TILE_ROWS + y;
        const int column = tile % tiles_wide() * TILE_COLUMNS + x;
        const int share = (batch + WARPS - 1) / WARPS, begin = warp * share;
        real sum[4][4] = {}, bias_sum[4] = {};
        if (row < pitch && column < columns) {
            const real* dy = grads + (int64)begin * pitch + row;
            const real* x_values = inputs + (int64)begin * columns + column;
#pragma unroll 4
            for (int n = begin; n < min(batch, begin + share); ++n) {
                const Real4 grad = *(const Real4*)dy, input = *(const Real4*)x_values;
                dy += pitch;
                x_values += columns;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[i][j] += grad.at[i] * input.at[j];
                    bias_sum[i] += grad.at[i];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            Real4 four;
#pragma unroll
            for (int j = 0; j < 4; ++j) four.at[j] = sum[i][j];
            *(Real4*)(m.weight[warp] + (y + i) * TILE_COLUMNS + x) = four;
            if (x == 0) m.bias[warp][y + i] = bias_sum[i];
        }
    }

    // Adds the warps' sums and writes the gradients. Returns whether this thread's are all finite.
    __device__ bool write(const TileMemory& m, int tile, real* out) const {
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
            out[is_bias ? bias + row : weight + row * columns + column] = sum;
            finite = finite && is_finite(sum);
        }
        return finite;
    }
};
