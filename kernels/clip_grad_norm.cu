// Clipping of gradients by their norm (Pascanu et al., 2013, in PyTorch's form), in place:
// norm = sqrt(sum of g^2);  g *= max_norm / (norm + 1e-6) where that factor is below 1.
//
// Shapes: grads (n), norm (1) of double, partials (2, parts) of double. The squares are added in
// double precision, so that those of floats neither overflow nor vanish. Those of doubles from
// LARGE on are added apart, scaled by SCALE. Two launches, both with a block for each part; the
// number of parts follows from n alone. NaN makes the norm and all gradients NaN.

constexpr double LARGE = 0x1p480, SCALE = 0x1p-530;

extern "C" __global__ void __launch_bounds__(256)
clip_grad_norm_squares(const real* __restrict__ grads, double* __restrict__ partials, int64 n) {
    double sum = 0, large = 0;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) {
        const double g = grads[i];
        if (fabs(g) < LARGE) {
            sum += g * g;
        } else {  // NaN and infinity, too
            large += (g * SCALE) * (g * SCALE);
        }
    }
    sum = block_sum(sum);
    large = block_sum(large);
    if (threadIdx.x > 0) return;
    partials[blockIdx.x] = sum;
    partials[gridDim.x + blockIdx.x] = large;
}

// Every block adds the parts, at most 256, in the same order.
extern "C" __global__ void __launch_bounds__(256)
clip_grad_norm_scale(const double* __restrict__ partials, real* __restrict__ grads,
                     double* __restrict__ norm, int parts, double max_norm, int64 n) {
    const int part = threadIdx.x;
    const double sum = block_sum(part < parts ? partials[part] : 0);
    const double large = block_sum(part < parts ? partials[parts + part] : 0);
    const double total = large == 0 ? sqrt(sum) : sqrt(large + sum * SCALE * SCALE) / SCALE;
    if (thread_index() == 0) norm[0] = total;
    const double factor = max_norm / (total + 1e-6);
    if (factor >= 1) return;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) grads[i] *= (real)factor;
}
