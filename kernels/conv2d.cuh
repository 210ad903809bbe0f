// 2-D convolution (cross-correlation, as in PyTorch) by implicit matrix products (Chellapilla et
// al., 2006). With x the input, f the filter and y the output,
//
//   y[n, k, p, q]  = b[k] + sum over c, r, s of  x[n, c, h, w] * f[k, c, r, s],  then ReLU
//   dx[n, c, h, w] = sum over k, r, s of  dy[n, k, p, q] * f[k, c, r, s]
//   df[k, c, r, s] = sum over n, p, q of  dy[n, k, p, q] * x[n, c, h, w]
//   db[k]          = sum over n, p, q of  dy[n, k, p, q]
//
// where  h = p * stride_h - pad_h + r * dilation_h  and  w = q * stride_w - pad_w + s * dilation_w.
// Inputs outside the image count as zero. Of g groups, each has C/g input channels and K/g outputs,
// and c and k are always of the same group. Each is one matrix product (gemm.cuh) a group:
//
//                   | GEMM M | GEMM N          | GEMM K          | A  | B          | epilogue
//   forward         | K/g    | n, p, q         | c, r, s         | f  | x or 0     | bias, ReLU
//   input gradient  | C/g    | n, h, w of one  | k, r, s of that | f  | dy or 0    | bias
//                   |        | stride class    | stride class    |    |            |
//   weight gradient | K/g    | c, r, s; ones   | n, p, q, split  | dy | x or 0; 1  | partial sums
//
// The matrix B (im2col) is never written: its elements are loaded from the images, slab by slab. A
// column of ones after the last makes db. A transposed convolution is dx as an operation of its
// own, hence the bias there. A stride s > 1 divides the input elements of an axis into s classes:
// those with equal (h + pad_h) % stride_h meet the same elements r of the filter, and no others.
//
// In this file: index arithmetic along GEMM K, the operands A and B, the columns of C, and the
// three products in the order of the table. T is a kind of tile with the members of Tile.

#include "window.cuh"
#include "gemm.cuh"

// Passed to kernels by value, and filled by gpucnn/backends/cuda/grids.py.
struct Conv2d : Window {
    int N, C, K, groups;

    __device__ int group_channels() const {
        return C / groups;
    }

    __device__ int group_outputs() const {
        return K / groups;
    }
};

// --- index arithmetic along GEMM K ---------------------------------------------------------------
//
// A value of GEMM K has three digits, such as (c, r, s): an outer one of any size, a row and a
// column. One step of a digit moves every row of A by the same number of elements, and every column
// of B by the same number of planes, or of rows or columns within a plane. So one warp divides once
// for each k, and leaves in shared memory how far it is from k = 0:

constexpr unsigned OUTSIDE = 1u << 31;  // a distance beyond every plane (grids.py checks sizes)

// For the values of k that are being loaded and the next K_GROUP, at k % COUNT.
struct KOffsets {
    static constexpr int COUNT = 2 * K_GROUP;
    int4 b[COUNT];   // x, y: bytes, low and high half; z, w: rows and columns of the plane
    int64 a[COUNT];  // bytes, or -1 beyond the last k
};

// Writes the offsets of `count` values of k from `begin` on. Index is int64 where k may pass 2^31.
template <class Index>
struct KDigits {
    static constexpr bool NEEDED = true;
    struct Steps {
        int64 outer;
        int row, column;
    };
    KOffsets& offsets;
    int64 begin, count;
    int rows, columns;  // sizes of the two lower digits
    Steps a;            // in elements of A
    Steps b;            // in elements of B for the outer digit, in rows and in columns of a plane
    int width_b;        // columns of a plane of B

    __device__ void operator()(int64 from) const {
        const int64 i = from + threadIdx.x % K_GROUP;
        const int slot = (int)(i % KOffsets::COUNT);
        const Division low = split(begin + i, columns), high = split(low.quotient, rows);
        const int64 outer = high.quotient;
        const int row = (int)high.remainder, column = (int)low.remainder;
        const int down = row * b.row, across = column * b.column;
        const int64 to_a = outer * a.outer + (int64)row * a.row + (int64)column * a.column;
        const int64 to_b = (outer * b.outer + (int64)down * width_b + across) * (int)sizeof(real);
        const bool exists = i < count;
        offsets.a[slot] = exists ? to_a * (int)sizeof(real) : -1;
        offsets.b[slot] = make_int4((int)to_b, (int)(to_b >> 32), exists ? down : (int)OUTSIDE,
                                    across);
    }

    __device__ static Division split(int64 k, int base) {
        if (sizeof(Index) == 8) return divide(k, base);
        return {(unsigned)k / (unsigned)base, (unsigned)k % (unsigned)base};
    }
};

// In bytes, because an index would have to be multiplied for each element.
__device__ inline const real* advance_bytes(const real* element, int64 bytes) {
    return (const real*)((const char*)element + bytes);
}

// --- operands ------------------------------------------------------------------------------------

// A: row m of M begins at data[m * row_stride], and its element k lies at the offset of k.
template <class Share_>
struct OperandA {
    using Share = Share_;
    const KOffsets& offsets;
    const real* at[Share::ROW_COUNT];

    __device__ OperandA(const KOffsets& offsets, const real* data, int64 row_stride, int first_row,
                        int M)
        : offsets(offsets) {
        static_assert(Share::along_k, "a thread has one k");
#pragma unroll
        for (int i = 0; i < Share::ROW_COUNT; ++i) {  // beyond the last row, the last row again
            at[i] = data + min(first_row + Share::row(i), M - 1) * row_stride;
        }
    }

    // Beyond the last k it reads the row's first element rather than branch around each load.
    __device__ void load(unsigned slab, real (&values)[Share::COUNT]) const {
        const int64 bytes = offsets.a[slab * Share::BK % KOffsets::COUNT + Share::k(0)];
#pragma unroll
        for (int r = 0; r < Share::COUNT; ++r) {
            const real value = *advance_bytes(at[r], bytes < 0 ? 0 : bytes);
            values[r] = bytes < 0 ? 0 : value;
        }
    }
};

// B: each column of C has an origin in a plane, and its element k is at the offset of k from there,
// or zero where that is outside the plane. One column may be all ones instead.
template <class Share_>
struct OperandB {
    using Share = Share_;
    static constexpr int NONE = -1;
    const KOffsets& offsets;
    const real* at[Share::ROW_COUNT];  // the origin, which may itself be outside
    unsigned h[Share::ROW_COUNT], w[Share::ROW_COUNT];
    unsigned height, width;
    int ones;  // which of the thread's columns is all ones, or NONE

    __device__ OperandB(const KOffsets& offsets, int height, int width)
        : offsets(offsets), height(height), width(width), ones(NONE) {}

    // Sets the origin of a thread's column. One that does not exist is OUTSIDE in w, so that it
    // cannot cancel with the OUTSIDE in h of a k that does not exist.
    __device__ void set_origin(int i, const real* plane, int row, int column, bool exists) {
        at[i] = plane + (int64)row * (int)width + column;
        h[i] = row;
        w[i] = exists ? column : OUTSIDE;
    }

    __device__ void load(unsigned slab, real (&values)[Share::COUNT]) const {
        const int first = slab * Share::BK % KOffsets::COUNT + Share::k(0);
#pragma unroll
        for (int r = 0; r < Share::COUNT; ++r) {
            const int i = Share::along_k ? r : 0;
            const int4 offset = offsets.b[Share::along_k ? first : first + r];
            // Unsigned, so that one comparison finds both sides of the plane.
            const bool inside = (h[i] + offset.z < height) & (w[i] + offset.w < width);
            const int64 bytes = ((int64)offset.y << 32) | (unsigned)offset.x;
            values[r] = 0;
            if (inside) values[r] = *advance_bytes(at[i], bytes);
        }
        if constexpr (Share::along_k) {  // as only the weight's gradient is
            if (ones == NONE) return;
#pragma unroll
            for (int r = 0; r < Share::COUNT; ++r) {
                if (r == ones) values[r] = offsets.a[first] < 0 ? 0 : 1;
            }
        }
    }
};

// --- columns of C that are positions of images ---------------------------------------------------

// Image n, and a position in it: of `positions` that each image has.
struct Column {
    int64 n;
    unsigned position;
};

__device__ inline Column column_at(int64 index, int64 positions) {
    const Division at = divide(index, positions);
    return {at.quotient, (unsigned)at.remainder};
}

// The column that many after `first`. 32 bits suffice, as a tile has few columns.
__device__ inline Column advance(const Column& first, int columns, unsigned positions) {
    const unsigned position = first.position + columns;
    return {first.n + position / positions, position % positions};
}

// The epilogue of forward and of the input's gradient: adds the bias, applies ReLU, and writes M
// channels of result (N, channels, area), from `first_channel` on, for the columns from `first` on.
// element_of(position) is the element in a plane, or negative where there is none. If `adjacent`,
// the elements of neighbouring positions are neighbours: then a thread's are stored together where
// each plane holds complete vectors. Planes of 7 by 7 do not, and take up to four stores for one.
template <class T, class ElementOf>
__device__ void write(const T& tile, real* result, const real* bias, int with_relu, int N,
                      int channels, int first_channel, int M, int64 area, const Column& first,
                      unsigned positions, bool adjacent, ElementOf element_of) {
    constexpr int V = T::VECTOR_N;
#pragma unroll
    for (int j = 0; j < T::TN; j += V) {
        Column at = advance(first, T::column(j), positions);
        real* const pack = result + (at.n * channels + first_channel) * area + at.position;
        if (adjacent && area % V == 0 && at.n < N && Pack<V>::fits(pack)) {
#pragma unroll
            for (int i = 0; i < T::TM; ++i) {
                const int m = blockIdx.y * T::BM + T::row(i);
                if (m >= M) break;
                real values[V];
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    values[v] = finish(tile.sum[i][j + v], bias, first_channel + m, with_relu);
                }
                Pack<V>::store(pack + m * area, values);
            }
            continue;
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int element = element_of((int)at.position);
            if (at.n < N && element >= 0) {
                real* image = result + (at.n * channels + first_channel) * area + element;
#pragma unroll
                for (int i = 0; i < T::TM; ++i) {
                    const int m = blockIdx.y * T::BM + T::row(i);
                    if (m >= M) break;
                    const real sum = tile.sum[i][j + v];
                    image[m * area] = finish(sum, bias, first_channel + m, with_relu);
                }
            }
            if (++at.position == positions) at = {at.n + 1, 0};
        }
    }
}

// --- forward -------------------------------------------------------------------------------------

// Grid: x tiles of GEMM N, y tiles of GEMM M, z groups.
template <class T>
__device__ void forward(const Conv2d& conv, const real* input, const real* weight, const real* bias,
                        real* output, int with_relu) {
    using B = OperandB<typename T::template ShareB<false>>;
    const int group = blockIdx.z, channels = conv.group_channels(), M = conv.group_outputs();
    const int K = channels * conv.R * conv.S, positions = conv.P * conv.Q;

    __shared__ KOffsets offsets;
    KDigits<unsigned> k = {offsets, 0, K};  // (c, r, s)
    k.rows = conv.R, k.columns = conv.S;
    k.a = {conv.R * conv.S, conv.S, 1};                           // in weight[k, c, r, s]
    k.b = {conv.input_size(), conv.dilation_h, conv.dilation_w};  // in input[n, c, h, w]
    k.width_b = conv.W;

    const OperandA<typename T::template ShareA<true>> a(
        offsets, weight + (int64)group * M * K, K, blockIdx.y * T::BM, M);
    const Column first = column_at((int64)blockIdx.x * T::BN, positions);  // (n, (p, q))
    const Column at = advance(first, B::Share::row(0), positions);
    B b(offsets, conv.H, conv.W);
    b.set_origin(0, input + (at.n * conv.C + group * channels) * conv.input_size(),
                 conv.rows().input(at.position / conv.Q, 0),
                 conv.columns().input(at.position % conv.Q, 0), at.n < conv.N);
    T tile;
    multiply(tile, a, b, K, k);
    write(tile, output, bias, with_relu, conv.N, conv.K, group * M, M, positions, first, positions,
          true, [](int position) { return position; });
}

// --- input's gradient ----------------------------------------------------------------------------

// One axis of a stride class: its input elements, and the elements of the filter that meet them.
struct AxisClass {
    int first, stride, count;  // input elements first, first + stride, ..; no class has more
    int kernel, step, kernels;  // elements of the filter: kernel, kernel + step, .., so many
    int back;                   // outputs from one element of the filter back to the next

    __device__ void set(const Axis& axis, int first_element) {
        first = first_element;
        stride = axis.stride;
        count = (axis.size - 1) / stride + 1;
        kernel = kernels = 0;
        step = axis.kernel;
        const int phase = (first + axis.pad) % stride;
        for (int r = 0; r < axis.kernel; ++r) {
            if (r * axis.dilation % stride != phase) continue;
            if (kernels == 1) {
                step = r - kernel;
                break;
            }
            kernel = r;
            kernels = 1;
        }
        if (kernels) kernels = (axis.kernel - 1 - kernel) / step + 1;
        back = step * axis.dilation / stride;
    }

    // The output position at which the class's first element of the filter lies on input element
    // h; it may be outside.
    __device__ int output(const Axis& axis, int h) const {
        return (h + axis.pad - kernel * axis.dilation) / stride;
    }
};

// The input elements of a block's columns: of one class of rows and one of columns.
struct StrideClass {
    AxisClass rows, columns;
    Column first;  // the block's first column

    // Classes follow one another along the grid's x, each with as many tiles as the largest needs.
    __device__ void set(const Conv2d& conv, int BN) {
        const int across = min(conv.stride_w, conv.W);
        const unsigned tiles = gridDim.x / (min(conv.stride_h, conv.H) * across);
        const int number = blockIdx.x / tiles;
        rows.set(conv.rows(), number / across);
        columns.set(conv.columns(), number % across);
        first = column_at((int64)(blockIdx.x % tiles) * BN, positions());
    }

    __device__ int kernels() const {
        return rows.kernels * columns.kernels;
    }

    __device__ int positions() const {
        return rows.count * columns.count;
    }

    __device__ int h(int position) const {
        return rows.first + position / columns.count * rows.stride;
    }

    __device__ int w(int position) const {
        return columns.first + position % columns.count * columns.stride;
    }

    // The input element at a position, or -1 if that is beyond the plane.
    __device__ int element(const Conv2d& conv, int position) const {
        const int y = h(position), x = w(position);
        return conv.rows().contains(y) && conv.columns().contains(x) ? y * conv.W + x : -1;
    }
};

// Grid: x tiles of GEMM N for each stride class, y tiles of GEMM M, z groups.
template <class T>
__device__ void backward_input(const Conv2d& conv, const real* grad, const real* weight,
                               const real* bias, real* input_grad) {
    using B = OperandB<typename T::template ShareB<false>>;
    __shared__ StrideClass part;  // the same for the block, and registers are few
    if (threadIdx.x == 0) part.set(conv, T::BN);
    __syncthreads();
    const int group = blockIdx.z, outputs = conv.group_outputs(), M = conv.group_channels();
    const int64 K = (int64)outputs * part.kernels(), filter = (int64)M * (conv.R * conv.S);

    __shared__ KOffsets offsets;
    KDigits<unsigned> k = {offsets, 0, K};  // (k, r, s); none for a class that no element meets
    k.rows = max(part.rows.kernels, 1), k.columns = max(part.columns.kernels, 1);
    k.a = {filter, part.rows.step * conv.S, part.columns.step};       // in weight[k, c, r, s]
    k.b = {conv.output_size(), -part.rows.back, -part.columns.back};  // in grad[n, k, p, q]
    k.width_b = conv.Q;

    // Neighbouring k lie together only in one output's filter, as c comes between k and (r, s): of
    // the sectors of these loads about half is used. The other half is that of the next rows, c.
    const real* first_filter = weight + group * outputs * filter +
                               part.rows.kernel * conv.S + part.columns.kernel;
    const OperandA<typename T::template ShareA<true>> a(
        offsets, first_filter, conv.R * conv.S, blockIdx.y * T::BM, M);
    const Column at = advance(part.first, B::Share::row(0), part.positions());  // (n, (h, w))
    B b(offsets, conv.P, conv.Q);
    b.set_origin(0, grad + (at.n * conv.K + group * outputs) * conv.output_size(),
                 part.rows.output(conv.rows(), part.h(at.position)),
                 part.columns.output(conv.columns(), part.w(at.position)),
                 at.n < conv.N && part.element(conv, at.position) >= 0);
    T tile;
    multiply(tile, a, b, K, k);
    write(tile, input_grad, bias, 0, conv.N, conv.C, group * M, M, conv.input_size(), part.first,
          part.positions(), conv.stride_h == 1 && conv.stride_w == 1,
          [&](int position) { return part.element(conv, position); });
}

// --- weight's gradient ---------------------------------------------------------------------------

// Grid: x tiles of GEMM N, with the column of ones if there is a bias, y tiles of GEMM M, z groups
// times splits. Each split sums a part of GEMM K, complete slabs, and writes its own part of
// partials (splits, K, pitch): rows of N columns, the column of the bias, and nothing of use up to
// the pitch, so that every pack is complete and aligned. A single split writes to the results.
template <class T>
__device__ void backward_weight(const Conv2d& conv, const real* grad, const real* input,
                                real* partials, real* bias_grad, int splits, int pitch) {
    using B = OperandB<typename T::template ShareB<true>>;
    constexpr int V = T::VECTOR_N;
    const int group = blockIdx.z / splits, split = blockIdx.z % splits;
    const int channels = conv.group_channels(), M = conv.group_outputs();
    const int filter = conv.R * conv.S, N = channels * filter;
    const int first_m = blockIdx.y * T::BM, first_n = blockIdx.x * T::BN, first_k = group * M;
    const int64 K = conv.N * conv.output_size(), slabs = ceil_divide(K, T::BK);
    const int64 length = divide(slabs + splits - 1, splits).quotient * T::BK;
    const int64 begin = min(split * length, K), end = min(begin + length, K);

    __shared__ KOffsets offsets;
    KDigits<int64> k = {offsets, begin, end - begin};  // (n, p, q)
    k.rows = conv.P, k.columns = conv.Q;
    k.a = {conv.K * conv.output_size(), conv.Q, 1};                    // in grad[n, k, p, q]
    k.b = {conv.C * conv.input_size(), conv.stride_h, conv.stride_w};  // in input[n, c, h, w]
    k.width_b = conv.W;

    const OperandA<typename T::template ShareA<true>> a(
        offsets, grad + first_k * conv.output_size(), conv.output_size(), first_m, M);
    B b(offsets, conv.H, conv.W);
#pragma unroll
    for (int i = 0; i < B::Share::ROW_COUNT; ++i) {
        const int n = first_n + B::Share::row(i), element = n % filter;  // n = (c, r, s)
        b.set_origin(i, input + (group * channels + n / filter) * conv.input_size(),
                     conv.rows().input(0, element / conv.S),
                     conv.columns().input(0, element % conv.S), n < N);
        if (bias_grad && n == N) b.ones = i;
    }
    T tile;
    multiply(tile, a, b, end - begin, k);

    const int columns = splits > 1 ? pitch : N;
#pragma unroll
    for (int i = 0; i < T::TM; ++i) {
        const int m = first_m + T::row(i);
        if (m >= M) break;
        real* const row = partials + ((int64)split * conv.K + first_k + m) * columns;
#pragma unroll
        for (int j = 0; j < T::TN; j += V) {
            const int n = first_n + T::column(j);
            real values[V];
#pragma unroll
            for (int v = 0; v < V; ++v) values[v] = tile.sum[i][j + v];
            if (n + V <= columns && Pack<V>::fits(row + n)) {
                Pack<V>::store(row + n, values);
                continue;
            }
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (n + v < columns) {
                    row[n + v] = values[v];
                } else if (n + v == N && bias_grad) {
                    bias_grad[first_k + m] = values[v];
                }
            }
        }
    }
}
