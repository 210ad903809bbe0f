// The linear layer's matrix products, in tiles of any kind T that has Tile's members (common.cuh).
// The shapes and the sums are those of linear.cu.

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
    multiply(tile, A(input, features, 1, first.row, batch, features),
                  B(weight, features, 1, first.column, outputs, features), features);
    write(tile, first, output, bias, relu, batch, outputs);
}

template <class T>
__device__ void backward_input(const real* grad, const real* weight, real* input_grad, int batch,
                               int features, int outputs) {
    using A = Matrix<typename T::template RowFetch<true>>;
    using B = Matrix<typename T::template ColumnFetch<false>>;
    const Corner<T> first;
    T tile;
    multiply(tile, A(grad, outputs, 1, first.row, batch, outputs),
                  B(weight, 1, features, first.column, features, outputs), outputs);
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
    multiply(tile, A(grad, 1, outputs, first.row, outputs, batch),
                  B(input, 1, features, first.column, features, batch), batch);
    write(tile, first, weight_grad, nullptr, 0, outputs, features, bias_grad);
}
