// Convolution (a cross-correlation, as in PyTorch):
//   y[n, o, oy, ox] = b[o] + sum of x[n, c, oy s - p + i d, ox s - p + j d] w[o, c, i, j]
// over the channels c of o's group and the taps (i, j) whose pixel lies inside the plane, through
// ReLU if `relu` is not 0. Backward:
// dx gathers, for each pixel, dy w over the outputs of its group and the stops that have a tap on
// it; dw adds dy x over samples and stops; db adds dy over samples and stops.
//
// Shapes: input and input_grad (batch, channels, height, width), weight and weight_grad (outputs,
// channels / groups, kernel_h, kernel_w), bias and bias_grad (outputs), output and grad (batch,
// outputs, out_h, out_w).
//
// A transposed convolution is dx as an operation of its own (with a bias), its dx is y, and its dw
// is dw with the two arrays exchanged: these kernels serve both. db is made with dw, as if a pixel
// of each window were 1; a transposed convolution's is sum_channels (sum.cu).
//
// Variants, slow to fast:
//   *_naive     a thread owns an element of the result and adds its products in index order;
//   *_block     (dw) a block owns an element: for groups of few outputs, which would leave most of
//               a tile empty;
//   *_16x128 .. implicit matrix products (Chellapilla et al., 2006): a block owns a tile of the
//               result (common.cuh), and the matrix of windows is never written down, but gathered
//               slab by slab from the planes. dx goes, for each pixel, through the taps alone that
//               the stride lets stop on it (Phase). dw adds over samples and stops, a long sum with
//               few results, so that it is split in `splits` parts; sum_splits (sum.cu) adds them.
//
// Every element is added by one thread in order, by a fixed tree, or in parts that the shapes fix.

extern "C" __global__ void __launch_bounds__(256)
conv2d_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int channels, int outputs, int groups, int kernel_h, int kernel_w,
                     int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                     int height, int width, int out_h, int out_w, int relu) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index(), stops = (int64)out_h * out_w;
    if (at >= batch * (outputs * stops)) return;
    const Division part = divide(at, stops), channel = divide(part.quotient, outputs);
    const int stop = part.rest, oy = stop / out_w, ox = stop % out_w;
    const int o = channel.rest;
    const int64 n = channel.quotient;
    const int each = channels / groups, first = o / (outputs / groups) * each;
    const real* taps = weight + (int64)o * each * kernel_h * kernel_w;
    real sum = 0;
    for (int c = 0; c < each; ++c) {
        const real* plane = input + (n * channels + first + c) * height * width;
        for (int i = 0; i < kernel_h; ++i) {
            const int y = rows.pixel(oy, i);
            for (int j = 0; j < kernel_w; ++j, ++taps) {
                const int x = columns.pixel(ox, j);
                if (rows.inside(y) && columns.inside(x)) {
                    sum += plane[(int64)y * width + x] * *taps;
                }
            }
        }
    }
    output[at] = finish(sum, bias, o, relu);
}

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            int batch, int channels, int outputs, int groups, int kernel_h,
                            int kernel_w, int stride_h, int stride_w, int top, int left,
                            int dilation_h, int dilation_w, int height, int width, int out_h,
                            int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index(), area = (int64)height * width;
    if (at >= batch * (channels * area)) return;
    const Division part = divide(at, area), channel = divide(part.quotient, channels);
    const int pixel = part.rest, y = pixel / width, x = pixel % width;
    const int c = channel.rest;
    const int64 n = channel.quotient;
    const int each = channels / groups, outs = outputs / groups, first = c / each * outs;
    real sum = 0;
    for (int o = first; o < first + outs; ++o) {
        const real* stops = grad + (n * outputs + o) * out_h * out_w;
        const real* taps = weight + ((int64)o * each + c % each) * kernel_h * kernel_w;
        for (int i = 0; i < kernel_h; ++i) {
            const int oy = rows.stop(y, i);
            for (int j = 0; j < kernel_w; ++j, ++taps) {
                const int ox = columns.stop(x, j);
                if (oy >= 0 && ox >= 0) sum += stops[(int64)oy * out_w + ox] * *taps;
            }
        }
    }
    input_grad[at] = finish(sum, bias, c, 0);
}

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int each = channels / groups, taps = kernel_h * kernel_w, length = each * taps;
    const int64 at = thread_index(), line = length + (bias_grad ? 1 : 0);
    if (at >= outputs * line) return;
    const Division element = divide(at, line);
    const int o = (int)element.quotient, k = (int)element.rest;
    const bool ones = k == length;  // the bias's: as if the pixel were 1
    const int i = k % taps / kernel_w, j = k % kernel_w;
    const int c = o / (outputs / groups) * each + (ones ? 0 : k / taps);
    real sum = 0;
    for (int64 n = 0; n < batch; ++n) {
        const real* stops = grad + (n * outputs + o) * out_h * out_w;
        const real* plane = input + (n * channels + c) * height * width;
        for (int oy = 0; oy < out_h; ++oy) {
            const int y = rows.pixel(oy, i);
            if (!ones && !rows.inside(y)) continue;
            for (int ox = 0; ox < out_w; ++ox) {
                const int x = columns.pixel(ox, j);
                if (!ones && !columns.inside(x)) continue;
                sum += stops[(int64)oy * out_w + ox] * (ones ? 1 : plane[(int64)y * width + x]);
            }
        }
    }
    *(ones ? bias_grad + o : weight_grad + (int64)o * length + k) = sum;
}

// A block owns an element: its threads go through samples and stops, 256 apart, and a fixed tree
// adds them. For few outputs a group, which would leave most of a tile empty.
extern "C" __global__ void __launch_bounds__(256)
conv2d_backward_weight_block(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int each = channels / groups, taps = kernel_h * kernel_w, length = each * taps;
    const int line = length + (bias_grad ? 1 : 0);
    const int o = blockIdx.x / line, at = blockIdx.x % line;
    const bool ones = at == length;  // the bias's: as if the pixel were 1
    const int i = at % taps / kernel_w, j = at % kernel_w;
    const int c = o / (outputs / groups) * each + (ones ? 0 : at / taps);
    const int64 stops = (int64)out_h * out_w;
    real sum = 0;
    for (int64 k = threadIdx.x; k < batch * stops; k += blockDim.x) {
        const Division part = divide(k, stops);
        const int64 n = part.quotient;
        const int stop = part.rest, y = rows.pixel(stop / out_w, i);
        const int x = columns.pixel(stop % out_w, j);
        const real share = grad[(n * outputs + o) * stops + stop];
        if (ones) {
            sum += share;
        } else if (rows.inside(y) && columns.inside(x)) {
            sum += share * input[((n * channels + c) * height + y) * width + x];
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) *(ones ? bias_grad + o : weight_grad + (int64)o * length + at) = sum;
}

// --- tiled: implicit matrix products -------------------------------------------------------------

using Narrow = Tile<16, 128, 8, 4, 4>;  // for few channels
using Large = Tile<64, 128, 8, 8, 8>;
using NarrowWeight = Tile<16, 64, 16, 2, 4>;
using LargeWeight = Tile<64, 64, 16, 4, 4>;
static_assert(Narrow::THREADS == 128 && Large::THREADS == 128, "as __launch_bounds__ below");
static_assert(NarrowWeight::THREADS == 128 && LargeWeight::THREADS == 256, "likewise");

struct Conv {
    int batch, channels, outputs, groups;
    Axis rows, columns;
    int each = channels / groups;  // channels of a group
    int outs = outputs / groups;   // outputs of a group
    int taps = rows.taps * columns.taps;
    int64 area = (int64)rows.size * columns.size, stops = (int64)rows.stops * columns.stops;
};

// A number with three digits, of the bases (any, rows, columns), that moves on by a fixed amount: a
// tap of a channel, or a stop of a sample. Adding digit by digit saves the divisions.
struct Digits {
    int rows, columns;
    int step_high, step_row, step_column;
    int high, row, column;

    __device__ Digits(int rows, int columns, int64 first, int step)
        : rows(rows), columns(columns), step_high(step / columns / rows),
          step_row(step / columns % rows), step_column(step % columns) {
        const Division line = divide(first, columns), plane = divide(line.quotient, rows);
        high = (int)plane.quotient;
        row = (int)plane.rest;
        column = (int)line.rest;
    }

    __device__ void step() {
        column += step_column;
        row += step_row;
        high += step_high;
        if (column >= columns) {
            column -= columns;
            ++row;
        }
        if (row >= rows) {
            row -= rows;
            ++high;
        }
    }
};

// Forward, B: column = (sample, stop), k = (channel, tap): the pixel under the tap.
template <class F>
struct Windows {
    using Place = F;
    const Conv& conv;
    Digits k;
    const real* sample;
    int y, x;  // of the window's first tap
    bool within;

    __device__ Windows(const Conv& conv, const real* input, int group, int64 first)
        : conv(conv), k(conv.rows.taps, conv.columns.taps, F::k(0), F::K_STEP) {
        const Division part = divide(first + F::line(0), conv.stops);
        const int64 n = part.quotient;
        const int stop = (int)part.rest;
        within = n < conv.batch;
        sample = input + (n * conv.channels + group * conv.each) * conv.area;
        y = conv.rows.pixel(stop / conv.columns.stops, 0);
        x = conv.columns.pixel(stop % conv.columns.stops, 0);
    }

    __device__ real get(int) const {
        const int row = y + k.row * conv.rows.dilation;
        const int column = x + k.column * conv.columns.dilation;
        if (!within || k.high >= conv.each || !conv.rows.inside(row) ||
            !conv.columns.inside(column)) {
            return 0;
        }
        return sample[k.high * conv.area + row * conv.columns.size + column];
    }

    __device__ void step() { k.step(); }
};

// A stride of s parts the pixels along an axis in phases, each of every s-th pixel, and the taps as
// well: on a pixel only the taps of its phase ever stop. So a block owns pixels of one phase and
// goes through their taps alone.
struct Phase {
    int first, stride, most;  // its pixels: first, first + stride, ..; no phase has more than most
    int tap, step, taps;        // its taps: tap, tap + step, .., as many as taps
    int back;                   // by how many stops a tap is behind the one before

    __device__ void set(const Axis& axis, int pixel) {
        first = pixel;
        stride = axis.stride;
        most = (axis.size - 1) / stride + 1;
        tap = taps = 0;
        step = axis.taps;
        const int ahead = (first + axis.before) % stride;
        for (int i = 0; i < axis.taps; ++i) {
            if (i * axis.dilation % stride != ahead) continue;
            if (taps == 1) {
                step = i - tap;
                break;
            }
            tap = i;
            taps = 1;
        }
        if (taps) taps = (axis.taps - 1 - tap) / step + 1;
        back = step * axis.dilation / stride;
    }

    // The stop that has the first tap on the pixel; it may lie outside.
    __device__ int stop(const Axis& axis, int pixel) const {
        return (pixel + axis.before - tap * axis.dilation) / stride;
    }
};

// The columns that a block owns in the product of the input's gradient: (sample, pixel), the pixels
// being of one phase down and one across.
struct Phases {
    Phase rows, columns;
    int64 first;  // the block's first column in the phase

    // The phases follow one another along the grid's x, each with blocks for `most` pixels.
    __device__ void set(const Conv& conv, int tile) {
        const int across = min(conv.columns.stride, conv.columns.size);
        const int64 most = ((conv.rows.size - 1) / conv.rows.stride + 1) *
                           (int64)((conv.columns.size - 1) / conv.columns.stride + 1);
        const int64 tiles = divide(conv.batch * most + tile - 1, tile).quotient;
        const Division part = divide(blockIdx.x, tiles);
        rows.set(conv.rows, (int)part.quotient / across);
        columns.set(conv.columns, (int)part.quotient % across);
        first = part.rest * tile;
    }

    __device__ int taps() const { return rows.taps * columns.taps; }

    // The sample and the pixel of the block's column; a pixel beyond the plane is -1.
    __device__ Division place(const Conv& conv, int column) const {
        const Division part = divide(first + column, (int64)rows.most * columns.most);
        const int y = rows.first + (int)part.rest / columns.most * rows.stride;
        const int x = columns.first + (int)part.rest % columns.most * columns.stride;
        const bool inside = conv.rows.inside(y) && conv.columns.inside(x);
        return {part.quotient, inside ? y * conv.columns.size + x : -1};
    }

    // Goes through (output, tap of the phase); where a phase has no tap, nothing is gone through.
    __device__ Digits digits(int first, int step) const {
        return {max(rows.taps, 1), max(columns.taps, 1), first, step};
    }
};

// Input's gradient, A: row = channel, k = (output, tap): the weight between them.
template <class F>
struct TurnedWeight {
    using Place = F;
    const Conv& conv;
    const Phases& phases;
    Digits k;
    const real* weights;
    int first;

    __device__ TurnedWeight(const Conv& conv, const Phases& phases, const real* weight, int group,
                            int first)
        : conv(conv), phases(phases), k(phases.digits(F::k(0), F::K_STEP)),
          weights(weight + (int64)group * conv.outs * conv.each * conv.taps), first(first) {}

    __device__ real get(int r) const {
        const int c = first + F::line(r);
        if (c >= conv.each || k.high >= conv.outs) return 0;
        const int i = phases.rows.tap + k.row * phases.rows.step;
        const int j = phases.columns.tap + k.column * phases.columns.step;
        const int64 filter = (int64)k.high * conv.each + c;
        return weights[filter * conv.taps + i * conv.columns.taps + j];
    }

    __device__ void step() { k.step(); }
};

// Input's gradient, B: column = (sample, pixel), k = (output, tap): the gradient at the stop that
// has the tap on the pixel.
template <class F>
struct Stops {
    using Place = F;
    const Conv& conv;
    const Phases& phases;
    Digits k;
    const real* sample;
    int oy, ox;  // of the first tap
    bool within;

    __device__ Stops(const Conv& conv, const Phases& phases, const real* grad, int group)
        : conv(conv), phases(phases), k(phases.digits(F::k(0), F::K_STEP)) {
        const Division at = phases.place(conv, F::line(0));
        const int pixel = (int)at.rest;
        within = at.quotient < conv.batch && pixel >= 0;
        sample = grad + (at.quotient * conv.outputs + group * conv.outs) * conv.stops;
        oy = phases.rows.stop(conv.rows, pixel / conv.columns.size);
        ox = phases.columns.stop(conv.columns, pixel % conv.columns.size);
    }

    __device__ real get(int) const {
        const int row = oy - k.row * phases.rows.back;
        const int column = ox - k.column * phases.columns.back;
        if (!within || k.high >= conv.outs || row < 0 || row >= conv.rows.stops || column < 0 ||
            column >= conv.columns.stops) {
            return 0;
        }
        return sample[k.high * conv.stops + row * conv.columns.stops + column];
    }

    __device__ void step() { k.step(); }
};

// Weight's gradient, A: row = output, k = (sample, stop): the gradient there.
template <class F>
struct Gradients {
    using Place = F;
    const Conv& conv;
    const real* grads;
    int64 n, stop, left;
    int first;

    __device__ Gradients(const Conv& conv, const real* grad, int group, int first, int64 k_begin,
                         int64 k_end)
        : conv(conv), grads(grad + (int64)group * conv.outs * conv.stops),
          left(k_end - k_begin - F::k(0)), first(first) {
        const Division part = divide(k_begin + F::k(0), conv.stops);
        n = part.quotient;
        stop = part.rest;
    }

    __device__ real get(int r) const {
        const int o = first + F::line(r);
        return left > 0 && o < conv.outs ? grads[(n * conv.outputs + o) * conv.stops + stop] : 0;
    }

    __device__ void step() {
        left -= F::K_STEP;
        stop += F::K_STEP;
        while (stop >= conv.stops) {
            stop -= conv.stops;
            ++n;
        }
    }
};

// Weight's gradient, B: column = (channel, tap), k = (sample, stop): the pixel under the tap. The
// column behind the last is one of ones, which makes the bias's gradient.
template <class F>
struct Pixels {
    using Place = F;
    const Conv& conv;
    Digits k;
    const real* channels;
    int64 left;
    int64 offset[F::COUNT];  // of the channel, ONES for the column of these, or BEYOND it
    int y[F::COUNT], x[F::COUNT];  // of the tap at the first stop
    static constexpr int ONES = -1, BEYOND = -2;

    __device__ Pixels(const Conv& conv, const real* input, int group, int first, int64 k_begin,
                      int64 k_end)
        : conv(conv), k(conv.rows.stops, conv.columns.stops, k_begin + F::k(0), F::K_STEP),
          channels(input + (int64)group * conv.each * conv.area),
          left(k_end - k_begin - F::k(0)) {
#pragma unroll
        for (int r = 0; r < F::COUNT; ++r) {
            const int column = first + F::line(r), tap = column % conv.taps;
            const int c = column / conv.taps;
            offset[r] = c < conv.each                     ? c * conv.area
                        : column == conv.each * conv.taps ? ONES
                                                          : BEYOND;
            y[r] = conv.rows.pixel(0, tap / conv.columns.taps);
            x[r] = conv.columns.pixel(0, tap % conv.columns.taps);
        }
    }

    __device__ real get(int r) const {
        const int row = y[r] + k.row * conv.rows.stride;
        const int column = x[r] + k.column * conv.columns.stride;
        if (left <= 0) return 0;
        if (offset[r] < 0) return offset[r] == ONES ? 1 : 0;
        if (!conv.rows.inside(row) || !conv.columns.inside(column)) return 0;
        const real* plane = channels + k.high * (conv.channels * conv.area) + offset[r];
        return plane[row * conv.columns.size + column];
    }

    __device__ void step() {
        left -= F::K_STEP;
        k.step();
    }
};

// Writes the tile's rows, channels of a group, and columns, (sample, place), to result (batch,
// channels, places). `first` is the group's first channel; place_of(column) is a column's sample
// and place, which is negative where there is none.
template <class T, class PlaceOf>
__device__ void write(const T& tile, real* result, const real* bias, int relu, int batch,
                      int channels, int first, int each, int64 places, PlaceOf place_of) {
#pragma unroll
    for (int j = 0; j < T::wide; ++j) {
        const Division at = place_of(T::column(j));
        if (at.quotient >= batch || at.rest < 0) continue;
        real* sample = result + (at.quotient * channels + first) * places + at.rest;
#pragma unroll
        for (int i = 0; i < T::high; ++i) {
            const int row = blockIdx.y * T::rows + T::row(i);
            if (row >= each) break;
            sample[row * places] = finish(tile.sum[i][j], bias, first + row, relu);
        }
    }
}

// Grid: x tiles of (sample, stop), y tiles of a group's outputs, z groups.
template <class T>
__device__ void forward(const Conv& conv, const real* input, const real* weight, const real* bias,
                        real* output, int relu) {
    using A = Matrix<typename T::template RowFetch<true>>;
    using B = Windows<typename T::template ColumnFetch<false>>;
    const int group = blockIdx.z, row = blockIdx.y * T::rows, length = conv.each * conv.taps;
    const int64 column = (int64)blockIdx.x * T::columns;
    const real* weights = weight + (int64)group * conv.outs * length;
    T tile;
    tile.multiply(A(weights, length, 1, row, conv.outs, length), B(conv, input, group, column),
                  length);
    write(tile, output, bias, relu, conv.batch, conv.outputs, group * conv.outs, conv.outs,
          conv.stops, [&](int j) { return divide(column + j, conv.stops); });
}

// Grid: x, for each phase, tiles of (sample, pixel), as many as the largest phase has; y tiles of a
// group's channels, z groups.
template <class T>
__device__ void backward_input(const Conv& conv, const real* grad, const real* weight,
                               const real* bias, real* input_grad) {
    using A = TurnedWeight<typename T::template RowFetch<true>>;
    using B = Stops<typename T::template ColumnFetch<false>>;
    const int group = blockIdx.z, row = blockIdx.y * T::rows;
    __shared__ Phases phases;  // the same for the block, and registers are few
    if (threadIdx.x == 0) phases.set(conv, T::columns);
    __syncthreads();
    T tile;
    tile.multiply(A(conv, phases, weight, group, row), B(conv, phases, grad, group),
                  (int64)conv.outs * phases.taps());
    write(tile, input_grad, bias, 0, conv.batch, conv.channels, group * conv.each, conv.each,
          conv.area, [&](int j) { return phases.place(conv, j); });
}

// Grid: x tiles of (channel, tap) and one column more for the bias, if there is one, y tiles of a
// group's outputs, z groups times splits. A split owns whole slabs of (sample, stop) and writes to
// its own part of partials (splits, weight and bias); a single one writes to the results.
template <class T>
__device__ void backward_weight(const Conv& conv, const real* grad, const real* input,
                                real* partials, real* bias_grad, int splits) {
    using A = Gradients<typename T::template RowFetch<true>>;
    using B = Pixels<typename T::template ColumnFetch<true>>;
    const int group = blockIdx.z / splits, split = blockIdx.z % splits;
    const int first_row = blockIdx.y * T::rows, first_column = blockIdx.x * T::columns;
    const int64 length = conv.batch * conv.stops;
    const int64 slabs = ceil_divide(length, T::depth);
    const int64 share = divide(slabs + splits - 1, splits).quotient * T::depth;
    const int64 begin = min(split * share, length), end = min(begin + share, length);
    T tile;
    tile.multiply(A(conv, grad, group, first_row, begin, end),
                  B(conv, input, group, first_column, begin, end), end - begin);
    const int columns = conv.each * conv.taps, first_output = group * conv.outs;
    const int64 weights = (int64)conv.outputs * columns;
    real* part = partials + split * (weights + (bias_grad ? conv.outputs : 0));
    real* beside = bias_grad && splits > 1 ? part + weights : bias_grad;
#pragma unroll
    for (int i = 0; i < T::high; ++i) {
        const int row = first_row + T::row(i);
        if (row >= conv.outs) break;
#pragma unroll
        for (int j = 0; j < T::wide; ++j) {
            const int column = first_column + T::column(j);
            if (column < columns) {
                part[(int64)(first_output + row) * columns + column] = tile.sum[i][j];
            } else if (column == columns && beside) {
                beside[first_output + row] = tile.sum[i][j];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_16x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int channels, int outputs, int groups, int kernel_h, int kernel_w,
                      int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                      int height, int width, int out_h, int out_w, int relu) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    forward<Narrow>(conv, input, weight, bias, output, relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int channels, int outputs, int groups, int kernel_h, int kernel_w,
                      int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                      int height, int width, int out_h, int out_w, int relu) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    forward<Large>(conv, input, weight, bias, output, relu);
}

constexpr int INPUT_BLOCKS = sizeof(real) == 4 ? 7 : 4;  // 72 and 128 registers: no spill

extern "C" __global__ void __launch_bounds__(128, INPUT_BLOCKS)
conv2d_backward_input_16x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_input<Narrow>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_input<Large>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_16x64(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             int splits, int batch, int channels, int outputs, int groups,
                             int kernel_h, int kernel_w, int stride_h, int stride_w, int top,
                             int left, int dilation_h, int dilation_w, int height, int width,
                             int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_weight<NarrowWeight>(conv, grad, input, partials, bias_grad, splits);
}

extern "C" __global__ void __launch_bounds__(256)
conv2d_backward_weight_64x64(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             int splits, int batch, int channels, int outputs, int groups,
                             int kernel_h, int kernel_w, int stride_h, int stride_w, int top,
                             int left, int dilation_h, int dilation_w, int height, int width,
                             int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_weight<LargeWeight>(conv, grad, input, partials, bias_grad, splits);
}
