// Convolutions as implicit matrix products (Chellapilla et al., 2006), in tiles of any kind T that
// has Tile's members (common.cuh): the matrix of windows is never written down, but gathered slab
// by slab from the planes. The shapes and the sums are those of conv2d.cu.

struct Conv {
    int batch, channels, outputs, groups;
    Axis rows, columns;
    int each = channels / groups;  // channels of a group
    int outs = outputs / groups;   // outputs of a group
    int taps = rows.taps * columns.taps;
    int64 area = (int64)rows.size * columns.size, stops = (int64)rows.stops * columns.stops;
};

// --- operands ------------------------------------------------------------------------------------
//
// In each of the three products k has three digits: a tap of a channel (or of an output), or a stop
// of a sample. What a digit is worth is the same for all lines of an operand. So a thread divides
// once for each k, not once for each element (Walk), and leaves here what k is worth:

constexpr unsigned OUTSIDE = 1u << 31;  // so far down that no pixel is there: see grids.py

// Of the slabs being fetched and of those to come, by k modulo their number.
struct Terms {
    static constexpr int COUNT = 2 * AHEAD;
    // For B: the bytes to an element from the place that belongs to its column, as two halves, and
    // how far down and across from there its pixel is. Four ints, as they come in one load.
    int4 of_b[COUNT];
    int64 of_a[COUNT];  // bytes to an element of A from the start of its row; -1: no such k
};

// An element so many bytes behind another: an index would have to be scaled each time.
__device__ inline const real* behind(const real* element, int64 bytes) {
    return (const real*)((const char*)element + bytes);
}

// The plan of a product over `count` values of k, from `first` on. The digits of k are a column, a
// row and a third of any size; a step of each is worth so many elements of A, and in B's planes so
// many elements (high), or pixels down or across. K is int64 where k may pass 2^31.
template <class K>
struct Walk {
    static constexpr bool NEEDED = true;
    Terms& terms;
    int64 first, count;
    int rows, columns;
    int64 a_high;
    int a_row, a_column;
    int64 b_high;
    int down, across, width;  // in B's planes, which are `width` wide

    __device__ void operator()(int64 from) const {
        const int64 at = from + threadIdx.x % AHEAD;
        const int slot = (int)(at % Terms::COUNT);
        const Division line = digit(first + at, columns), plane = digit(line.quotient, rows);
        const int64 high = plane.quotient;
        const int row = (int)plane.rest, column = (int)line.rest;
        const int y = row * down, x = column * across;
        const int64 a = high * a_high + (int64)row * a_row + (int64)column * a_column;
        const int64 b = (high * b_high + (int64)y * width + x) * (int)sizeof(real);
        const bool known = at < count;
        terms.of_a[slot] = known ? a * (int)sizeof(real) : -1;
        terms.of_b[slot] = make_int4((int)b, (int)(b >> 32), known ? y : (int)OUTSIDE, x);
    }

    __device__ static Division digit(int64 k, int base) {
        if (sizeof(K) == 8) return divide(k, base);
        return {(unsigned)k / (unsigned)base, (unsigned)k % (unsigned)base};
    }
};

// A: element (line, k) is data[line * stride], and so far behind it as k is worth.
template <class F>
struct Rows {
    using Place = F;
    const Terms& terms;
    const real* at[F::LINES];

    __device__ Rows(const Terms& terms, const real* data, int64 stride, int first, int lines)
        : terms(terms) {
        static_assert(F::along_k, "a thread has one k");
#pragma unroll
        for (int r = 0; r < F::LINES; ++r) {  // lines beyond the last are that one once more
            at[r] = data + min(first + F::line(r), lines - 1) * stride;
        }
    }

    // Beyond the last k it reads the row's start rather than branch around each load.
    __device__ void load(unsigned slab, real (&values)[F::COUNT]) const {
        const int64 bytes = terms.of_a[slab * F::depth % Terms::COUNT + F::k(0)];
#pragma unroll
        for (int r = 0; r < F::COUNT; ++r) {
            const real value = *behind(at[r], bytes < 0 ? 0 : bytes);
            values[r] = bytes < 0 ? 0 : value;
        }
    }
};

// B: a column has a place in a plane, and element (column, k) is as far from there as k is worth,
// or zero where no pixel is. All but one column of the weight's gradient, which is one of ones.
template <class F>
struct Pixels {
    using Place = F;
    static constexpr int NONE = -1;
    const Terms& terms;
    const real* at[F::LINES];  // the place's element; it may lie outside, and is not read then
    unsigned y[F::LINES], x[F::LINES];
    unsigned height, width;
    int ones;  // the column of ones, counted from the tile's first, or NONE

    __device__ Pixels(const Terms& terms, int height, int width)
        : terms(terms), height(height), width(width), ones(NONE) {}

    // Columns without a place are OUTSIDE sideways: that and being so downwards do not cancel.
    __device__ void set(int r, const real* plane, int row, int column, bool within) {
        at[r] = plane + (int64)row * (int)width + column;
        y[r] = row;
        x[r] = within ? column : OUTSIDE;
    }

    __device__ void load(unsigned slab, real (&values)[F::COUNT]) const {
        const int first = slab * F::depth % Terms::COUNT + F::k(0);
#pragma unroll
        for (int r = 0; r < F::COUNT; ++r) {
            const int line = F::along_k ? r : 0;
            const int4 term = terms.of_b[F::along_k ? first : first + r];
            const bool inside = (y[line] + term.z < height) & (x[line] + term.w < width);
            const int64 bytes = ((int64)term.y << 32) | (unsigned)term.x;
            values[r] = 0;
            if (inside) values[r] = *behind(at[line], bytes);
        }
        if constexpr (F::along_k) {  // as only the weight's gradient is
            if (ones == NONE) return;
#pragma unroll
            for (int r = 0; r < F::COUNT; ++r) {
                if (F::line(r) == ones) values[r] = terms.of_a[first] < 0 ? 0 : 1;
            }
        }
    }
};

// --- results -------------------------------------------------------------------------------------

// A column of the tile as (sample, place), where a sample has `places`, from the tile's first one.
// 32 bits do, as a tile has few columns.
__device__ inline Division moved(const Division& first, int column, unsigned places) {
    const unsigned place = (unsigned)first.rest + column;
    return {first.quotient + place / places, place % places};
}

// Writes the tile's rows, channels of a group, and columns, (sample, place) from `corner` on, to
// result (batch, channels, area). A sample has `places` columns, and pixel_of(place) is negative
// where there is none. `first` is the group's first channel.
template <class T, class PixelOf>
__device__ void write(const T& tile, real* result, const real* bias, int relu, int batch,
                      int channels, int first, int each, int64 area, const Division& corner,
                      unsigned places, PixelOf pixel_of) {
#pragma unroll
    for (int j = 0; j < T::wide; j += T::B_PACK) {
        Division at = moved(corner, T::column(j), places);
#pragma unroll
        for (int pack = 0; pack < T::B_PACK; ++pack) {
            const int pixel = pixel_of((int)at.rest);
            if (at.quotient < batch && pixel >= 0) {
                real* sample = result + (at.quotient * channels + first) * area + pixel;
#pragma unroll
                for (int i = 0; i < T::high; ++i) {
                    const int row = blockIdx.y * T::rows + T::row(i);
                    if (row >= each) break;
                    sample[row * area] = finish(tile.sum[i][j + pack], bias, first + row, relu);
                }
            }
            if (++at.rest == places) at = {at.quotient + 1, 0};
        }
    }
}

// --- forward -------------------------------------------------------------------------------------

// A: row = output, k = (channel, tap): the weight. B: column = (sample, stop): the pixel under the
// tap. Grid: x tiles of columns, y tiles of a group's outputs, z groups.
template <class T>
__device__ void forward(const Conv& conv, const real* input, const real* weight, const real* bias,
                        real* output, int relu) {
    using A = Rows<typename T::template RowFetch<true>>;
    using B = Pixels<typename T::template ColumnFetch<false>>;
    __shared__ Terms terms;
    const int group = blockIdx.z, length = conv.each * conv.taps;
    const Division corner = divide((int64)blockIdx.x * T::columns, conv.stops);
    const Division place = moved(corner, B::Place::line(0), conv.stops);
    B b(terms, conv.rows.size, conv.columns.size);
    b.set(0, input + (place.quotient * conv.channels + group * conv.each) * conv.area,
          conv.rows.pixel((int)place.rest / conv.columns.stops, 0),
          conv.columns.pixel((int)place.rest % conv.columns.stops, 0),
          place.quotient < conv.batch);
    const Walk<unsigned> walk = {
        terms, 0, length, conv.rows.taps, conv.columns.taps,
        conv.taps, conv.columns.taps, 1,
        conv.area, conv.rows.dilation, conv.columns.dilation, conv.columns.size};
    T tile;
    multiply(tile, A(terms, weight + (int64)group * conv.outs * length, length,
                    blockIdx.y * T::rows, conv.outs),
                  b, length, walk);
    write(tile, output, bias, relu, conv.batch, conv.outputs, group * conv.outs, conv.outs,
          conv.stops, corner, conv.stops, [](int stop) { return stop; });
}

// --- input's gradient ----------------------------------------------------------------------------

// A stride of s parts the pixels along an axis in phases, each of every s-th pixel, and the taps as
// well: on a pixel only the taps of its phase ever stop. So a block owns pixels of one phase and
// goes through their taps alone.
struct Phase {
    int first, stride, most;  // its pixels: first, first + stride, ..; no phase has more than most
    int tap, step, taps;      // its taps: tap, tap + step, .., as many as taps
    int back;                 // by how many stops a tap is behind the one before

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
    Division corner;  // the block's first column, as (sample, place)

    // The phases follow one another along the grid's x, each with blocks for `most` pixels.
    __device__ void set(const Conv& conv, int tile) {
        const int across = min(conv.columns.stride, conv.columns.size);
        const int64 most = ((conv.rows.size - 1) / conv.rows.stride + 1) *
                           (int64)((conv.columns.size - 1) / conv.columns.stride + 1);
        const int64 tiles = divide(conv.batch * most + tile - 1, tile).quotient;
        const Division part = divide(blockIdx.x, tiles);
        rows.set(conv.rows, (int)part.quotient / across);
        columns.set(conv.columns, (int)part.quotient % across);
        corner = divide(part.rest * tile, places());
    }

    __device__ int taps() const { return rows.taps * columns.taps; }

    // The most pixels that a phase has.
    __device__ int places() const { return rows.most * columns.most; }

    __device__ int row(int place) const { return rows.first + place / columns.most * rows.stride; }

    __device__ int column(int place) const {
        return columns.first + place % columns.most * columns.stride;
    }

    // The pixel at a place; one beyond the plane is -1.
    __device__ int pixel(const Conv& conv, int place) const {
        const int y = row(place), x = column(place);
        return conv.rows.inside(y) && conv.columns.inside(x) ? y * conv.columns.size + x : -1;
    }
};

// A: row = channel, k = (output, tap of the phase): the weight. B: column = (sample, pixel): the
// gradient at the stop that has the tap on the pixel. Grid: x, for each phase, tiles of columns, as
// many as the largest phase has; y tiles of a group's channels, z groups.
template <class T>
__device__ void backward_input(const Conv& conv, const real* grad, const real* weight,
                               const real* bias, real* input_grad) {
    using A = Rows<typename T::template RowFetch<true>>;
    using B = Pixels<typename T::template ColumnFetch<false>>;
    __shared__ Terms terms;
    __shared__ Phases phases;  // the same for the block, and registers are few
    if (threadIdx.x == 0) phases.set(conv, T::columns);
    __syncthreads();
    const int group = blockIdx.z;
    const Division place = moved(phases.corner, B::Place::line(0), phases.places());
    B b(terms, conv.rows.stops, conv.columns.stops);
    b.set(0, grad + (place.quotient * conv.outputs + group * conv.outs) * conv.stops,
          phases.rows.stop(conv.rows, phases.row((int)place.rest)),
          phases.columns.stop(conv.columns, phases.column((int)place.rest)),
          place.quotient < conv.batch && phases.pixel(conv, (int)place.rest) >= 0);
    const int64 length = (int64)conv.outs * phases.taps(), filter = (int64)conv.each * conv.taps;
    // A phase without a tap has a length of zero, and its pixels a gradient of zero.
    const Walk<unsigned> walk = {
        terms, 0, length, max(phases.rows.taps, 1), max(phases.columns.taps, 1),
        filter, phases.rows.step * conv.columns.taps, phases.columns.step,
        conv.stops, -phases.rows.back, -phases.columns.back, conv.columns.stops};
    const real* taps = weight + group * conv.outs * filter +
                       phases.rows.tap * conv.columns.taps + phases.columns.tap;
    T tile;
    multiply(tile, A(terms, taps, conv.taps, blockIdx.y * T::rows, conv.each), b, length, walk);
    write(tile, input_grad, bias, 0, conv.batch, conv.channels, group * conv.each, conv.each,
          conv.area, phases.corner, phases.places(),
          [&](int place) { return phases.pixel(conv, place); });
}

// --- weight's gradient ---------------------------------------------------------------------------

// A: row = output, k = (sample, stop): the gradient there. B: column = (channel, tap): the pixel
// under the tap; the column behind the last is one of ones, which makes the bias's gradient. Grid:
// x tiles of columns, that of ones among them if there is a bias, y tiles of a group's outputs, z
// groups times splits. A split owns whole slabs of k and writes to its own part of partials
// (splits, weight and bias); a single one writes to the results.
template <class T>
__device__ void backward_weight(const Conv& conv, const real* grad, const real* input,
                                real* partials, real* bias_grad, int splits) {
    using A = Rows<typename T::template RowFetch<true>>;
    using B = Pixels<typename T::template ColumnFetch<true>>;
    __shared__ Terms terms;
    const int group = blockIdx.z / splits, split = blockIdx.z % splits;
    const int first_row = blockIdx.y * T::rows, first_column = blockIdx.x * T::columns;
    const int columns = conv.each * conv.taps, first_output = group * conv.outs;
    const int64 length = conv.batch * conv.stops;
    const int64 slabs = ceil_divide(length, T::depth);
    const int64 share = divide(slabs + splits - 1, splits).quotient * T::depth;
    const int64 begin = min(split * share, length), end = min(begin + share, length);
    B b(terms, conv.rows.size, conv.columns.size);
#pragma unroll
    for (int r = 0; r < B::Place::LINES; ++r) {
        const int column = first_column + B::Place::line(r), tap = column % conv.taps;
        b.set(r, input + (group * conv.each + column / conv.taps) * conv.area,
              conv.rows.pixel(0, tap / conv.columns.taps),
              conv.columns.pixel(0, tap % conv.columns.taps), column < columns);
    }
    if (bias_grad && columns >= first_column) b.ones = columns - first_column;
    if (b.ones >= T::columns) b.ones = B::NONE;
    const Walk<int64> walk = {
        terms, begin, end - begin, conv.rows.stops, conv.columns.stops,
        conv.outputs * conv.stops, conv.columns.stops, 1,
        conv.channels * conv.area, conv.rows.stride, conv.columns.stride, conv.columns.size};
    T tile;
    multiply(tile, A(terms, grad + first_output * conv.stops, conv.stops, first_row, conv.outs),
                  b, end - begin, walk);
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
