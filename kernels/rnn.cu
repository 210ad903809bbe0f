// Elman network: h_t = f(x_t + w h_{t-1} + b), where f is tanh, or ReLU if is_relu is not 0, and
// h_{-1} = 0. recurrent.cuh has the products; the gradients of weight and bias are a product of
// linear.cu over all steps.
//
// With d_t the gradient of x_t, and so of the argument of f:
//   d_t = (dy_t + w^T d_{t+1}) f'(h_t),  dw = sum over n, t of d_t h_{t-1}^T,  db = sum of d_t.
//
// Shapes: input, output, grad, input_grad and before (batch, steps, hidden); bias (hidden); weight
// (hidden, hidden), transposed in the forward: element [k][o] is that from unit k to unit o. The
// backward writes h_{t-1} to before, zero in the first step.

#include "recurrent.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
rnn_forward(const real* __restrict__ input, const real* __restrict__ weight,
            const real* __restrict__ NULLABLE bias, real* output, int batch, int steps, int hidden,
            int is_relu) {
    recur<1, 1, false>(batch, steps, hidden, weight, output,
        [=](int64 n, int t, int unit, const real (&sums)[1], real (&state)[1]) {
            const int64 at = (n * steps + t) * hidden + unit;
            const real x = input[at] + sums[0] + (bias ? bias[unit] : 0);
            state[0] = output[at] = is_relu ? relu(x) : tanh(x);
        });
}

extern "C" __global__ void __launch_bounds__(256, 2)
rnn_backward(const real* __restrict__ grad, const real* __restrict__ output,
             const real* __restrict__ weight, real* input_grad, real* __restrict__ before,
             int batch, int steps, int hidden, int is_relu) {
    recur<1, 1, true>(batch, steps, hidden, weight, input_grad,
        [=](int64 n, int t, int unit, const real (&sums)[1], real (&left)[1]) {
            const int64 at = (n * steps + t) * hidden + unit;
            const real total = grad[at] + sums[0], y = output[at];
            left[0] = input_grad[at] = is_relu ? (y > 0 ? total : 0) : total * ((1 - y) * (1 + y));
            before[at] = t > 0 ? output[at - hidden] : 0;
        });
}
