// A window that slides over planes, in convolutions and poolings. The letters are cuDNN's and
// CUTLASS's, sizes in capitals and indices in lower case: a plane is (H, W), the window (R, S), the
// output (P, Q). At output position (p, q), element (r, s) of the window lies on the input element
//   h = p * stride_h - pad_h + r * dilation_h,  w = q * stride_w - pad_w + s * dilation_w,
// which may be outside the plane, in the padding.

// One of the two axes: rows (H, R, P) or columns (W, S, Q). The comments are for rows.
struct Axis {
    int size, kernel, outputs, pad, stride, dilation;

    // The input element h under element r of the window at output position p.
    __device__ int input(int p, int r) const {
        return p * stride - pad + r * dilation;
    }

    __device__ bool contains(int h) const {
        return h >= 0 && h < size;
    }

    // The output position p at which element r lies on input element h, or -1 if there is none.
    __device__ int output(int h, int r) const {
        int p = h + pad - r * dilation;
        if (p < 0) return -1;
        if (stride > 1) {  // most strides are 1, and a division costs more than a multiply-add
            if (p % stride) return -1;
            p /= stride;
        }
        return p < outputs ? p : -1;
    }

    // The first and the last output position at which the window spans input element h.
    __device__ int first_output(int h) const {
        const int ahead = h + pad - (kernel - 1) * dilation;
        return ahead <= 0 ? 0 : (ahead - 1) / stride + 1;  // ahead + stride may exceed 2^31
    }

    __device__ int last_output(int h) const {
        const int p = (h + pad) / stride;
        return p < outputs ? p : outputs - 1;
    }
};

// Passed to kernels by value, and filled by gpucnn/backends/cuda/grids.py.
struct Window {
    int H, W, R, S, P, Q;
    int pad_h, pad_w;  // at the top and at the left
    int stride_h, stride_w, dilation_h, dilation_w;

    __device__ Axis rows() const {
        return {H, R, P, pad_h, stride_h, dilation_h};
    }

    __device__ Axis columns() const {
        return {W, S, Q, pad_w, stride_w, dilation_w};
    }

    __device__ int64 input_size() const {
        return (int64)H * W;
    }

    __device__ int64 output_size() const {
        return (int64)P * Q;
    }

    // Calls visit(index in the plane) for each input element under the window at (p, q), in
    // row-major order: it decides between equal maxima, and how sums are rounded.
    template <class Visit>
    __device__ void each_input(int p, int q, Visit visit) const {
        const Axis rows = this->rows(), columns = this->columns();
        for (int r = 0; r < R; ++r) {
            const int h = rows.input(p, r);
            if (!rows.contains(h)) continue;
            for (int s = 0; s < S; ++s) {
                const int w = columns.input(q, s);
                if (columns.contains(w)) visit(h * W + w);
            }
        }
    }

    // Calls visit(p, q) for each output position at which the window spans input element (h, w),
    // in row-major order.
    template <class Visit>
    __device__ void each_output(int h, int w, Visit visit) const {
        const Axis rows = this->rows(), columns = this->columns();
        for (int p = rows.first_output(h); p <= rows.last_output(h); ++p) {
            for (int q = columns.first_output(w); q <= columns.last_output(w); ++q) visit(p, q);
        }
    }
};
