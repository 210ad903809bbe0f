// GELU: y = x P(x), P the distribution function of the standard normal distribution, and dx = dy
// (P(x) + x p(x)) with its density p. P(x) is erfc(-x / sqrt(2)) / 2, which keeps its relative
// accuracy where 1 + erf would cancel, for x far below 0.
//
// With approximate = 1, P(x) = (1 + tanh(z)) / 2 = sigmoid(2 z), z = sqrt(2 / pi) (x + c x^3), and
// p(x) is its derivative, P (1 - P) 2 dz/dx.
//
// Arrays of n elements, any shape. A thread owns one element.

#define SQRT_HALF real(0.70710678118654752440)
#define DENSITY real(0.39894228040143267794)   // p(0) = 1 / sqrt(2 pi)
#define TWICE_SCALE real(1.5957691216057307117)  // 2 sqrt(2 / pi)
#define CUBE real(0.044715)

extern "C" __global__ void __launch_bounds__(256)
gelu_forward(const real* __restrict__ input, real* __restrict__ output, int64 n,
             int approximate) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    const real below = approximate ? sigmoid(TWICE_SCALE * x * (1 + CUBE * x * x))
                                   : erfc(-x * SQRT_HALF) / 2;
    output[i] = x * below;
}

extern "C" __global__ void __launch_bounds__(256)
gelu_backward(const real* __restrict__ grad, const real* __restrict__ input,
              real* __restrict__ input_grad, int64 n, int approximate) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    real slope;
    if (approximate) {
        const real below = sigmoid(TWICE_SCALE * x * (1 + CUBE * x * x));
        // Zero for large x before x^2 is a factor, which may be infinite.
        const real term = below * (1 - below) * x;
        slope = below + TWICE_SCALE * (term + 3 * CUBE * term * x * x);
    } else {
        slope = erfc(-x * SQRT_HALF) / 2 + x * (DENSITY * exp(-x * x / 2));
    }
    input_grad[i] = grad[i] * slope;
}
