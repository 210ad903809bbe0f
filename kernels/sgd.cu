// One step of stochastic gradient descent (Sutskever et al., 2013, in PyTorch's form), in place:
// g = grad + weight_decay p;  v = momentum v + g;  p -= lr v, or lr (g + momentum v) with Nesterov.
//
// Arrays of n elements; rates (1): lr; failed (1): if not 0, nothing changes (finite.cu). A thread
// owns one element.

extern "C" __global__ void __launch_bounds__(256)
sgd_step(real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ velocity,
         const real* __restrict__ rates, const int64* __restrict__ NULLABLE failed, int64 n,
         real momentum, real weight_decay, int nesterov) {
    const int64 i = thread_index();
    if (i >= n || (failed && failed[0] != 0)) return;
    const real p = param[i], lr = rates[0];
    // Without decay, 0 * p would turn the gradient of an infinite weight into NaN.
    const real g = weight_decay == 0 ? grad[i] : grad[i] + weight_decay * p;
    const real v = momentum * velocity[i] + g;
    velocity[i] = v;
    param[i] = p - lr * (nesterov ? g + momentum * v : v);
}
