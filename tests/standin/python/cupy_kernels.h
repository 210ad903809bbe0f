// Stands in for CuPy's headers in CuPy's own element-wise kernels (filling and copying arrays):
// arrays as arguments and the loop over their elements, laid out as CuPy passes them.
#pragma once

template <class T, int ndim, bool contiguous, bool narrow> struct CArray {
    T *data;
    ptrdiff_t size, shape_and_strides[2 * ndim];
    __device__ T &operator[](const ptrdiff_t *index) const
    {
        ptrdiff_t offset = 0;
        for (int i = 0; i < ndim; ++i) offset += index[i] * shape_and_strides[ndim + i];
        return *(T *)((char *)data + offset);
    }
    __device__ T &operator[](ptrdiff_t i) const
    {
        ptrdiff_t offset = 0;
        for (int axis = ndim - 1; axis >= 0; i /= shape_and_strides[axis--])
            offset += i % shape_and_strides[axis] * shape_and_strides[ndim + axis];
        return *(T *)((char *)data + offset);
    }
};

template <class T, bool contiguous, bool narrow> struct CArray<T, 0, contiguous, narrow> {
    T *data;
    ptrdiff_t size;
    __device__ T &operator[](const ptrdiff_t *) const { return *data; }
};

template <int ndim, bool narrow = true> struct CIndexer {
    ptrdiff_t count, shape[ndim], index[ndim];
    __device__ ptrdiff_t size() const { return count; }
    __device__ const ptrdiff_t *get() const { return index; }
    __device__ void set(ptrdiff_t i)
    {
        for (int axis = ndim - 1; axis >= 0; i /= shape[axis--]) index[axis] = i % shape[axis];
    }
};

template <bool narrow> struct CIndexer<0, narrow> {
    ptrdiff_t count;
    __device__ ptrdiff_t size() const { return count; }
    __device__ const ptrdiff_t *get() const { return nullptr; }
    __device__ void set(ptrdiff_t) {}
};

#define CUPY_FOR(i, n)                                                            \
    for (ptrdiff_t i = (ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
         i += (ptrdiff_t)blockDim.x * gridDim.x)
