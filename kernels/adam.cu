// One step of Adam (Kingma & Ba, 2015) or AdamW (Loshchilov & Hutter, 2019), in place:
// m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;
// p -= step_size m / (sqrt(s) / correction + eps),
// with step_size = lr / (1 - b1^t) and correction = sqrt(1 - b2^t). Adam adds weight_decay p to
// g; AdamW first multiplies p by shrink = 1 - lr weight_decay, which is 1 for Adam. The host
// computes rates, which depend on the step alone, and rest1 = 1 - b1 and rest2 = 1 - b2, in double
// precision.
//
// Arrays of n elements; rates (3): step_size, correction, shrink; failed (1): if not 0, nothing
// changes (finite.cu). A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
adam_step(real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ exp_avg,
          real* __restrict__ exp_avg_sq, const real* __restrict__ rates,
          const int64* __restrict__ NULLABLE failed, int64 n, real beta1, real rest1, real beta2,
          real rest2, real eps, real weight_decay) {
    const int64 i = thread_index();
    if (i >= n || (failed && failed[0] != 0)) return;
    const real step_size = rates[0], correction = rates[1], p = param[i] * rates[2];
    const real g = weight_decay == 0 ? grad[i] : grad[i] + weight_decay * param[i];
    const real mean = beta1 * exp_avg[i] + rest1 * g;
    const real square = beta2 * exp_avg_sq[i] + rest2 * g * g;
    exp_avg[i] = mean;
    exp_avg_sq[i] = square;
    // Where all gradients were zero, nothing changes, even if eps is 0.
    param[i] = p - (mean == 0 ? mean : step_size * mean / (sqrt(square) / correction + eps));
}
