// The three matrix products of a linear layer (gemm.cuh), each C (M, N) = A (M, K) B (N, K)^T:
//
//                   | M       | N              | K        | A    | B        | epilogue
//   forward         | batch   | outputs        | features | x    | w        | bias, ReLU
//   input gradient  | batch   | features       | outputs  | dy   | w^T      |
//   weight gradient | outputs | features; ones | batch    | dy^T | x^T; 1   | column of ones to db
//
// A column of ones after the last of x makes the bias's gradient. T is a kind of tile with the
// members of Tile; the block owns the tile at blockIdx.y and blockIdx.x. Shapes as in linear.cu.

#include "gemm.cuh"

// Writes the tile to result (M, N), and a column after the last to extra (M), if there is one.
template <class T>
__device__ void write(const T& tile, real* result, const real* bias, int with_relu, int M, int N,
                      real* extra = nullptr) {
    constexpr int V = T::VECTOR_N;
#pragma unroll
    for (int i = 0; i < T::TM; ++i) {
        const int64 m = blockIdx.y * T::BM + T::row(i);
        if (m >= M) break;
#pragma unroll
        for (int j = 0; j < T::TN; j += V) {
            const int first = blockIdx.x * T::BN + T::column(j);
            real* const at = result + m * N + first;
            real values[V];
#pragma unroll
            for (int v = 0; v < V; ++v) {
                const int n = first + v;
                values[v] = n < N ? finish(tile.sum[i][j + v], bias, n, with_relu)
                                  : tile.sum[i][j + v];
            }
            if (first + V <= N && Pack<V>::fits(at)) {
                Pack<V>::store(at, values);
                continue;
            }
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (first + v < N) {
                    at[v] = values[v];
                } else if (first + v == N && extra) {
                    extra[m] = values[v];
                }
            }
        }
    }
}

template <class T>
__device__ void forward(const real* input, const real* weight, const real* bias, real* output,
                        int batch, int features, int outputs, int with_relu) {
    using A = Matrix<typename T::template ShareA<true>>;
    using B = Matrix<typename T::template ShareB<true>>;
    const int first_m = blockIdx.y * T::BM, first_n = blockIdx.x * T::BN;
    T tile;
    multiply(tile, A(input, features, 1, first_m, batch, features),
                   B(weight, features, 1, first_n, outputs, features), features);
    write(tile, output, bias, with_relu, batch, outputs);
}

template <class T>
__device__ void backward_input(const real* grad, const real* weight, real* input_grad, int batch,
                               int features, int outputs) {
    using A = Matrix<typename T::template ShareA<true>>;
    using B = Matrix<typename T::template ShareB<false>>;
    const int first_m = blockIdx.y * T::BM, first_n = blockIdx.x * T::BN;
    T tile;
    multiply(tile, A(grad, outputs, 1, first_m, batch, outputs),
                   B(weight, 1, features, first_n, features, outputs), outputs);
    write(tile, input_grad, nullptr, 0, batch, features);
}

template <class T>
__device__ void backward_weight(const real* grad, const real* input, real* weight_grad,
                                real* bias_grad, int batch, int features, int outputs) {
    using A = Matrix<typename T::template ShareA<false>>;
    using B = Matrix<typename T::template ShareB<false>, true>;
    const int first_m = blockIdx.y * T::BM, first_n = blockIdx.x * T::BN;
    T tile;
    multiply(tile, A(grad, 1, outputs, first_m, outputs, batch),
                   B(input, 1, features, first_n, features, batch), batch);
    write(tile, weight_grad, nullptr, 0, outputs, features, bias_grad);
}
