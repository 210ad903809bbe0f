// Windows of adaptive pooling, and copies of upsampling to the nearest pixel, along one axis of
// `size` pixels and `outputs` outputs. Products of sizes fit 32 bits: resampling.py checks it.

struct Resample {
    int size, outputs;

    // The window of adaptive pooling at output p, from `begin` to before `end`: every pixel of the
    // part from p / outputs to (p + 1) / outputs of the axis. Windows overlap if those parts end
    // inside a pixel.
    __device__ int begin(int p) const {
        return p * size / outputs;
    }

    __device__ int end(int p) const {
        return ((p + 1) * size + outputs - 1) / outputs;
    }

    __device__ int length(int p) const {
        return end(p) - begin(p);
    }

    // The first and the last output whose window has pixel h.
    __device__ int first_window(int h) const {
        return h * outputs / size;
    }

    __device__ int last_window(int h) const {
        return ((h + 1) * outputs - 1) / size;
    }

    // The pixel that output p is a copy of.
    __device__ int nearest(int p) const {
        return begin(p);
    }

    // The copies of pixel h, from the first to before the last; none where outputs < size.
    __device__ int first_copy(int h) const {
        return (h * outputs + size - 1) / size;
    }

    __device__ int end_of_copies(int h) const {
        return first_copy(h + 1);
    }
};

// An element of planes of rows by columns: its plane, and where it is in it.
struct Position {
    int64 plane;
    int row, column;
};

__device__ inline Position locate(int64 element, int rows, int columns) {
    const Division at = divide(element, (int64)rows * columns);
    const int index = (int)at.remainder;
    return {at.quotient, index / columns, index % columns};
}
