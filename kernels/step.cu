// Selects the inputs of a training step on the device, so that a step can be captured once and
// replayed: after b = counter[0] batches of the epoch, the indices of the next batch's images are
// order[b batch_size ..], `target` holds their labels, and `rates` row b of table. Then both
// counters increase: counter[1] is the number of the step, from 1 on.
//
// Shapes: counter (2), order (images), labels (items), table (steps, width), indices and target
// (count), rates (width). Labels that are numbers to predict are (items, columns), and target
// (count, columns). One block.
//
// With a ring the images of the batches to come lie in a ring of so many images, in the order of
// the epoch: indices are positions there, and labels still those of the images themselves.
//
// Beyond the order and the table nothing is read: indices and labels
// are -1, or numbers NaN, and rates NaN, which a run detects.

// Writes where image i of batch `batch` is, -1 beyond the order, and returns its index.
__device__ inline int64 pick(const int64* order, int64* indices, int64 images, int64 batch,
                             int batch_size, int64 ring, int i) {
    const int64 at = batch * batch_size + i;
    const bool exists = at >= 0 && at < images;
    const int64 item = exists ? order[at] : -1;
    indices[i] = exists && ring ? at % ring : item;
    return item;
}

__device__ inline void pick_rates(const real* table, real* rates, int64 batch, int64 steps,
                                  int width) {
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        rates[i] = batch >= 0 && batch < steps ? table[batch * width + i] : not_a_number();
    }
}

__device__ inline void count_step(int64* counter) {
    __syncthreads();  // every thread has read the counter
    if (threadIdx.x < 2) counter[threadIdx.x] += 1;
}

extern "C" __global__ void __launch_bounds__(256)
begin_step(int64* __restrict__ counter, const int64* __restrict__ order,
           const int64* __restrict__ labels, const real* __restrict__ table,
           int64* __restrict__ indices, int64* __restrict__ target, real* __restrict__ rates,
           int64 images, int64 items, int64 steps, int width, int count, int batch_size,
           int64 ring) {
    const int64 batch = counter[0];
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const int64 item = pick(order, indices, images, batch, batch_size, ring, i);
        target[i] = item >= 0 && item < items ? labels[item] : -1;
    }
    pick_rates(table, rates, batch, steps, width);
    count_step(counter);
}

extern "C" __global__ void __launch_bounds__(256)
begin_step_numbers(int64* __restrict__ counter, const int64* __restrict__ order,
                   const real* __restrict__ labels, const real* __restrict__ table,
                   int64* __restrict__ indices, real* __restrict__ target,
                   real* __restrict__ rates, int64 images, int64 items, int columns, int64 steps,
                   int width, int count, int batch_size, int64 ring) {
    const int64 batch = counter[0];
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const int64 item = pick(order, indices, images, batch, batch_size, ring, i);
        const bool valid = item >= 0 && item < items;
#pragma unroll 1  // unrolled, it spills registers
        for (int k = 0; k < columns; ++k) {
            target[(int64)i * columns + k] = valid ? labels[item * columns + k] : not_a_number();
        }
    }
    pick_rates(table, rates, batch, steps, width);
    count_step(counter);
}
