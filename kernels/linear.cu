// Linear layer: y = x w^T + b, through ReLU if `relu` is not 0; dx = dy w, dw = dy^T x, db = the
// sum of dy over the batch.
//
// Shapes: input and input_grad (batch, features), weight and weight_grad (outputs, features), bias
// and bias_grad (outputs), output and grad (batch, outputs).
//
// Variants, slow to fast: *_naive, a thread owns an element of the result and adds its products in
// index order; *_32x32 and *_64x128, a block owns a tile of the result (common.cuh). Either way an
// element is one thread's sum in index order. db is made with dw.

extern "C" __global__ void __launch_bounds__(256)
linear_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int relu) {
    const int64 at = thread_index();
    if (at >= (int64)batch * outputs) return;
    const int64 n = at / outputs, o = at % outputs;
    real sum = 0;
    for (int64 f = 0; f < features; ++f) sum += input[n * features + f] * weight[o * features + f];
    output[at] = finish(sum, bias, o, relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features, int outputs) {
    const int64 at = thread_index();
    if (at >= (int64)batch * features) return;
    const int64 n = at / features, f = at % features;
    real sum = 0;
    for (int64 o = 0; o < outputs; ++o) sum += grad[n * outputs + o] * weight[o * features + f];
    input_grad[at] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int features, int outputs) {
    const int64 at = thread_index(), columns = features + (bias_grad ? 1 : 0);
    if (at >= outputs * columns) return;
    const int64 o = at / columns, f = at % columns;
    real sum = 0;
    for (int64 n = 0; n < batch; ++n) {
        sum += grad[n * outputs + o] * (f < features ? input[n * features + f] : 1);
    }
    *(f < features ? weight_grad + o * features + f : bias_grad + o) = sum;
}

// --- tiled: a matrix product each ----------------------------------------------------------------

using Small = Tile<32, 32, 32, 2, 2>;
using Large = Tile<64, 128, 8, 8, 8>;
static_assert(Small::THREADS == 256 && Large::THREADS == 128, "as __launch_bounds__ below");

// The tile of the result that the block owns: rows by the grid's y, columns by its x.
template <class T>
struct Corner {
    int row = blockIdx.y * T::rows, column = blockIdx.x * T::columns;
};

template <class T>
__device__ void write(const T& tile, const Corner<T>& first, real* result, const real* bias,
                      int relu, int rows, int columns, real* beside = nullptr) {
#pragma unroll
    for (int i = 0; i < T::high; ++i) {
        const int64 row = first.row + T::row(i);
        if (row >= rows) break;
#pragma unroll
        for (int j = 0; j < T::wide; ++j) {
            const int column = first.column + T::column(j);
            if (column < columns) {
                result[row * columns + column] = finish(tile.sum[i][j], bias, column, relu);
            } else if (column == columns && beside) {
                beside[row] = tile.sum[i][j];
            }
        }
    }
}

template <class T>
__device__ void forward(const real* input, const real* weight, const real* bias, real* output,
                        int batch, int features, int outputs, int relu) {
    using A = Matrix<typename T::template RowFetch<true>>;
    using B = Matrix<typename T::template ColumnFetch<true>>;
    const Corner<T> first;
    T tile;
    tile.multiply(A(input, features, 1, first.row, batch, features),
                  B(weight, features, 1, first.column, outputs, features), features, NoPlan());
    write(tile, first, output, bias, relu, batch, outputs);
}

template <class T>
__device__ void backward_input(const real* grad, const real* weight, real* input_grad, int batch,
                               int features, int outputs) {
    using A = Matrix<typename T::template RowFetch<true>>;
    using B = Matrix<typename T::template ColumnFetch<false>>;
    const Corner<T> first;
    T tile;
    tile.multiply(A(grad, outputs, 1, first.row, batch, outputs),
                  B(weight, 1, features, first.column, features, outputs), outputs, NoPlan());
    write(tile, first, input_grad, nullptr, 0, batch, features);
}

// A column of ones behind those of the input makes the bias's gradient.
template <class T>
__device__ void backward_weight(const real* grad, const real* input, real* weight_grad,
                                real* bias_grad, int batch, int features, int outputs) {
    using A = Matrix<typename T::template RowFetch<false>>;
    using B = Matrix<typename T::template ColumnFetch<false>, true>;
    const Corner<T> first;
    T tile;
    tile.multiply(A(grad, 1, outputs, first.row, outputs, batch),
                  B(input, 1, features, first.column, features, batch), batch, NoPlan());
    write(tile, first, weight_grad, nullptr, 0, outputs, features, bias_grad);
}

extern "C" __global__ void __launch_bounds__(256)
linear_forward_32x32(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int relu) {
    forward<Small>(input, weight, bias, output, batch, features, outputs, relu);
}

extern "C" __global__ void __launch_bounds__(128)
linear_forward_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int features, int outputs, int relu) {
    forward<Large>(input, weight, bias, output, batch, features, outputs, relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_32x32(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features,
                            int outputs) {
    backward_input<Small>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_input_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             real* __restrict__ input_grad, int batch, int features,
                             int outputs) {
    backward_input<Large>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_32x32(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad,
                             real* __restrict__ NULLABLE bias_grad, int batch, int features,
                             int outputs) {
    backward_weight<Small>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_weight_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                              real* __restrict__ weight_grad,
                              real* __restrict__ NULLABLE bias_grad, int batch, int features,
                              int outputs) {
    backward_weight<Large>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}
