// A batch of a data set in device memory with random changes of its images: gather_images of
// gather.cu, but each pixel is looked up elsewhere in its image, between four pixels.
//
// Shapes: images (items, channels, height, width) of bytes, indices (count), scale and shift
// (channels), step (1), output (count, channels, height, width). A block owns an image, a thread
// every 256th of its pixels. The image's random words are those of 16 blocks of Philox (philox.cuh)
// from 16 (first + n) on, drawn by 16 threads. Words 0 to 11 are the parameters below, 12 to 36 the
// displacements in x of 5 x 5 control points, and 37 to 61 those in y.
//
// A point of the output is taken back through the shift, the rotation, the scale, the shear and the
// flips, all about the centre (cx, cy), and displaced by the elastic distortion. For the vector
// (u, v) from the centre, y pointing down and angles counterclockwise:
//   forward  u' = u + k v (shear); scaled by z; u'' = u' cos + v' sin, v'' = -u' sin + v' cos
//   inverse  x = cx + ax u + bx v,  y = cy + ay u + by v
// Outside the image is background: byte 0. For an index out of range the pixels are NaN.

#include "philox.cuh"

constexpr int CONTROL_POINTS = 5;

// From -1 to 1.
__device__ inline real symmetric(uint32 word) {
    return 2 * uniform(word) - 1;
}

// An integer below count, at most 2^24.
__device__ inline int below(uint32 word, int count) {
    return (int)((uint64)(word >> 8) * count >> 24);
}

// The control point before pixel `at` of `size`, and how much the next one counts.
struct Between {
    int before;
    real next;
};

__device__ inline Between between(int at, int size) {
    const real t = size > 1 ? (real)(at * (CONTROL_POINTS - 1)) / (size - 1) : 0;
    const int before = min((int)t, CONTROL_POINTS - 2);
    const real rest = t - before;
    return {before, rest * rest * (3 - 2 * rest)};
}

// What is the same for all pixels of an image.
struct Change {
    real ax, bx, ay, by;  // the inverse of the affine change
    int shift_x, shift_y;
    int top, bottom, left, right;  // the erased rectangle
    real along_x[CONTROL_POINTS * CONTROL_POINTS], along_y[CONTROL_POINTS * CONTROL_POINTS];
};

// A side of the erased rectangle: from an eighth to three eighths of the image's.
__device__ inline int erased(uint32 word, int size) {
    const int least = max(1, size / 8), most = max(least, 3 * size / 8);
    return least + below(word, most - least + 1);
}

__device__ inline real displacement(const real* grid, Between row, Between column) {
    const real* at = grid + row.before * CONTROL_POINTS + column.before;
    const real above = at[0] + column.next * (at[1] - at[0]);
    const real under = at[CONTROL_POINTS] +
                       column.next * (at[CONTROL_POINTS + 1] - at[CONTROL_POINTS]);
    return above + row.next * (under - above);
}

extern "C" __global__ void __launch_bounds__(256)
augment_images(const uint8* __restrict__ images, const int64* __restrict__ indices,
               const real* __restrict__ scale, const real* __restrict__ shift,
               const int64* __restrict__ step, real* __restrict__ output, int64 items, int64 first,
               int channels, int height, int width, int most_shift, real rotate, real zoom,
               real shear, real elastic, int64 erase, int64 flip, int64 flip_vertical, uint64 key) {
    __shared__ uint32 words[64];
    __shared__ Change change;
    const int64 n = blockIdx.x, item = indices[n];
    if (threadIdx.x < 16) {
        const Words drawn = philox(key, 16 * (first + n) + threadIdx.x, step[0]);
        for (int i = 0; i < 4; ++i) words[4 * threadIdx.x + i] = drawn.at[i];
    }
    __syncthreads();
    if (threadIdx.x < CONTROL_POINTS * CONTROL_POINTS) {
        change.along_x[threadIdx.x] = elastic * symmetric(words[12 + threadIdx.x]);
        change.along_y[threadIdx.x] = elastic * symmetric(words[37 + threadIdx.x]);
    }
    if (threadIdx.x == 0) {
        change.shift_x = below(words[0], 2 * most_shift + 1) - most_shift;
        change.shift_y = below(words[1], 2 * most_shift + 1) - most_shift;
        const real angle = rotate * symmetric(words[2]), z = 1 + zoom * symmetric(words[3]);
        const real k = tan(shear * symmetric(words[4])), c = cos(angle) / z, s = sin(angle) / z;
        const int mirror_x = words[5] < flip ? -1 : 1, mirror_y = words[6] < flip_vertical ? -1 : 1;
        change.ax = mirror_x * (c - k * s);
        change.bx = -mirror_x * (s + k * c);
        change.ay = mirror_y * s;
        change.by = mirror_y * c;
        const bool erases = words[7] < erase;
        const int rows = erased(words[8], height), columns = erased(words[9], width);
        change.top = erases ? below(words[10], height - rows + 1) : height;
        change.bottom = change.top + rows;
        change.left = below(words[11], width - columns + 1);
        change.right = change.left + columns;
    }
    __syncthreads();
    const bool valid = item >= 0 && item < items;
    const int area = height * width;
    const real cx = (real)(width - 1) / 2, cy = (real)(height - 1) / 2;
    for (int pixel = threadIdx.x; pixel < area; pixel += blockDim.x) {
        const int y = pixel / width, x = pixel % width;
        const real u = x - cx - change.shift_x, v = y - cy - change.shift_y;
        real from_x = cx + change.ax * u + change.bx * v;
        real from_y = cy + change.ay * u + change.by * v;
        if (elastic > 0) {
            const Between row = between(y, height), column = between(x, width);
            from_x += displacement(change.along_x, row, column);
            from_y += displacement(change.along_y, row, column);
        }
        // Beyond a pixel outside all is background; so the indices fit into an int.
        from_x = min(max(from_x, (real)-1), (real)width);
        from_y = min(max(from_y, (real)-1), (real)height);
        const int left = (int)floor(from_x), top = (int)floor(from_y);
        const real right_part = from_x - left, lower_part = from_y - top;
        const bool erased_here = y >= change.top && y < change.bottom && x >= change.left &&
                                 x < change.right;
        for (int channel = 0; channel < channels; ++channel) {
            const uint8* plane = images + ((valid ? item : 0) * channels + channel) * area;
            real at[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = top + i / 2, column = left + i % 2;
                const bool inside = valid && row >= 0 && row < height && column >= 0 &&
                                    column < width && !erased_here;
                at[i] = inside ? plane[row * width + column] : 0;
            }
            const real above = at[0] + right_part * (at[1] - at[0]);
            const real under = at[2] + right_part * (at[3] - at[2]);
            const real value = above + lower_part * (under - above);
            output[(n * channels + channel) * area + pixel] =
                valid ? value * scale[channel] + shift[channel] : not_a_number();
        }
    }
}
