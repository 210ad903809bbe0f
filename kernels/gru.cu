// Gated recurrent units, as torch.nn.GRU, with h_{-1} = 0:
//   r = sigmoid(x_r + w_r h_{t-1} + b_r)      reset gate
//   z = sigmoid(x_z + w_z h_{t-1} + b_z)      update gate
//   q = w_n h_{t-1} + b_n
//   n = tanh(x_n + r q)                       new state
//   h_t = (1 - z) n + z h_{t-1}
// recurrent.cuh has the products; the gradients of weight and bias are a product of linear.cu over
// all steps.
//
// With dh the gradient of h_t, and d_ that of an argument of sigmoid or tanh:
//   d_n = dh (1 - z) (1 - n^2),  d_z = dh (h_{t-1} - n) z (1 - z),  d_r = d_n q r (1 - r),
//   dq = d_n r,  dh_{t-1} = dy_{t-1} + dh z + w_r^T d_r + w_z^T d_z + w_n^T dq.
//
// Shapes: output, grad and before (batch, steps, hidden); input and input_grad (batch, steps, 3
// hidden), of r, z and n; product_grad the same, of r, z and q; gates (batch, steps, 4 hidden), of
// r, z, q and n; weight (3 hidden, hidden), transposed in the forward; bias (3 hidden); through,
// the dh z of a step, (batch, hidden). The backward writes h_{t-1} to before, zero in the first
// step.

#include "recurrent.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
gru_forward(const real* __restrict__ input, const real* __restrict__ weight,
            const real* __restrict__ NULLABLE bias, real* output,
            real* __restrict__ NULLABLE gates, int batch, int steps, int hidden) {
    recur<3, 1, false>(batch, steps, hidden, weight, output,
        [=](int64 n, int t, int unit, const real (&sums)[3], real (&state)[1]) {
            const int64 row = n * steps + t, at = row * hidden + unit;
            const real* const x = input + row * 3 * hidden + unit;
            real products[3];
#pragma unroll
            for (int g = 0; g < 3; ++g) {
                products[g] = sums[g] + (bias ? bias[g * hidden + unit] : 0);
            }
            const real r = sigmoid(x[0] + products[0]), z = sigmoid(x[hidden] + products[1]);
            const real q = products[2], fresh = tanh(x[2 * hidden] + r * q);
            const real old = t > 0 ? output[at - hidden] : 0;
            state[0] = output[at] = (1 - z) * fresh + z * old;
            if (!gates) return;
            real* const saved = gates + row * 4 * hidden + unit;
            saved[0] = r;
            saved[hidden] = z;
            saved[2 * hidden] = q;
            saved[3 * hidden] = fresh;
        });
}

extern "C" __global__ void __launch_bounds__(256, 2)
gru_backward(const real* __restrict__ grad, const real* __restrict__ output,
             const real* __restrict__ gates, const real* __restrict__ weight,
             real* __restrict__ input_grad, real* product_grad, real* __restrict__ before,
             real* __restrict__ through, int batch, int steps, int hidden) {
    recur<1, 3, true>(batch, steps, hidden, weight, product_grad,
        [=](int64 n, int t, int unit, const real (&sums)[1], real (&left)[3]) {
            const int64 row = n * steps + t, at = row * hidden + unit;
            real* const rest = through + n * hidden + unit;
            const real dh = grad[at] + sums[0] + (t + 1 < steps ? *rest : 0);
            const real* const saved = gates + row * 4 * hidden + unit;
            const real r = saved[0], z = saved[hidden], q = saved[2 * hidden];
            const real fresh = saved[3 * hidden], old = t > 0 ? output[at - hidden] : 0;
            const real d_n = dh * (1 - z) * ((1 - fresh) * (1 + fresh));
            const real d_z = dh * (old - fresh) * (z * (1 - z));
            const real d_r = d_n * q * (r * (1 - r));
            real* const dx = input_grad + row * 3 * hidden + unit;
            real* const dp = product_grad + row * 3 * hidden + unit;
            left[0] = dx[0] = dp[0] = d_r;
            left[1] = dx[hidden] = dp[hidden] = d_z;
            dx[2 * hidden] = d_n;
            left[2] = dp[2 * hidden] = d_n * r;
            *rest = dh * z;
            before[at] = old;
        });
}
