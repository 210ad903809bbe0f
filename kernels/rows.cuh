// Rows of an array, which softmax and cross-entropy add up.
//
// An array is seen as (outer, size, inner): a row is `size` elements that are `inner` apart, and
// there are outer * inner rows. A function of a row is written once, as a template of the row's
// owner: a thread, which adds in order, or a block, for long rows, which adds by a fixed tree. An
// owner processes the elements first(), first() + step(), ...; its sum() and maximum() are those of
// the whole row, and must be called by all of the block's threads.

// The index of a row's first element.
__device__ inline int64 row_start(int64 row, int size, int64 inner) {
    return row / inner * inner * size + row % inner;
}

// The greatest element of a row, the first of equal ones, or the first NaN; and its index.
struct Maximum {
    real value;
    int index;

    __device__ void add(real x, int i) {
        if (exceeds(x, value)) value = x, index = i;
    }
};

struct ThreadOwner {
    __device__ static int first() { return 0; }
    __device__ static int step() { return 1; }
    __device__ static real sum(real value) { return value; }

    __device__ static Maximum maximum(const real* row, int size, int64 inner) {
        Maximum found = {row[0], 0};
        for (int i = 1; i < size; ++i) found.add(row[i * inner], i);
        return found;
    }
};

struct BlockOwner {
    __device__ static int first() { return threadIdx.x; }
    __device__ static int step() { return blockDim.x; }
    __device__ static real sum(real value) { return block_sum(value); }

    __device__ static Maximum maximum(const real* row, int size, int64 inner) {
        __shared__ Maximum tree[1024];
        // A thread without an element has the row's first, which never replaces another's.
        const int own = (int)threadIdx.x < size ? threadIdx.x : 0;
        Maximum found = {row[own * inner], own};
        for (int i = own + blockDim.x; i < size; i += blockDim.x) found.add(row[i * inner], i);
        tree[threadIdx.x] = found;
        __syncthreads();
        for (int half = blockDim.x / 2; half > 0; half /= 2) {
            if ((int)threadIdx.x < half) {
                Maximum& kept = tree[threadIdx.x];
                const Maximum other = tree[threadIdx.x + half];
                const bool same = other.value == kept.value ||
                                  (is_nan(other.value) && is_nan(kept.value));
                if (exceeds(other.value, kept.value) || (same && other.index < kept.index)) {
                    kept = other;
                }
            }
            __syncthreads();
        }
        found = tree[0];
        __syncthreads();  // before the next call writes
        return found;
    }
};
