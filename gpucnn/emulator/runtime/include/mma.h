// Products of small matrices by a warp (WMMA), as plain loops. Which lane holds which element is
// not defined by CUDA; here element i of lane l is number 32 i + l of the matrix by rows.
//
// float32 sums are computed in order; a GPU's tensor cores add in an order of their own.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace nvcuda
{
namespace wmma
{
struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
namespace precision { struct tf32 {}; }
enum layout_t { mem_row_major, mem_col_major };

template <class T> struct gpu_element { typedef T type; };
template <> struct gpu_element<precision::tf32> { typedef float type; };

template <class Use, int m, int n, int k> struct gpu_shape;
template <int m, int n, int k> struct gpu_shape<matrix_a, m, n, k>
{
    static constexpr int rows = m, columns = k;
};
template <int m, int n, int k> struct gpu_shape<matrix_b, m, n, k>
{
    static constexpr int rows = k, columns = n;
};
template <int m, int n, int k> struct gpu_shape<accumulator, m, n, k>
{
    static constexpr int rows = m, columns = n;
};

template <class A, class B> struct gpu_is { static constexpr bool value = false; };
template <class A> struct gpu_is<A, A> { static constexpr bool value = true; };
template <class T, int m, int n, int k> struct gpu_supported
{
    static constexpr bool narrow = gpu_is<T, __half>::value || gpu_is<T, __nv_bfloat16>::value ||
                                   gpu_is<T, signed char>::value || gpu_is<T, char>::value ||
                                   gpu_is<T, unsigned char>::value;
    static constexpr bool usual = k == 16 && ((m == 16 && n == 16) || (m == 32 && n == 8) ||
                                              (m == 8 && n == 32));
    static constexpr bool large = m == 16 && n == 16 && k == 8, small = m == 8 && n == 8 && k == 4;
    static constexpr bool factor = narrow ? usual
                                   : gpu_is<T, precision::tf32>::value ? large
                                   : gpu_is<T, double>::value          ? small
                                                                       : false;
    static constexpr bool sum = gpu_is<T, double>::value  ? small
                                : gpu_is<T, float>::value ? usual || large
                                : gpu_is<T, __half>::value || gpu_is<T, int>::value ? usual
                                                                                    : false;
};

template <class Use, int m, int n, int k, class T, class Layout = void> struct fragment
{
    typedef gpu_shape<Use, m, n, k> shape;
    typedef typename gpu_element<T>::type element_type, storage_element_type;
    static constexpr bool is_sum = gpu_is<Use, accumulator>::value;
    static_assert(is_sum ? gpu_supported<T, m, n, k>::sum : gpu_supported<T, m, n, k>::factor,
                  "WMMA has no fragment of this type and shape, or the emulator does not have it");
    static_assert(is_sum == gpu_is<Layout, void>::value,
                  "matrix_a and matrix_b take row_major or col_major; accumulator takes neither");
    // As on a GPU, factors of half precision are held more than once in some shapes.
    static constexpr int gpu_distinct = shape::rows * shape::columns / 32;
    static constexpr int num_elements = gpu_is<T, __half>::value && !is_sum ? 16 : gpu_distinct;
    static constexpr int num_storage_elements = num_elements;
    element_type x[num_elements];
};

GPU_INLINE float __float_to_tf32(float value)
{
    unsigned bits = gpu_bits<unsigned>(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return gpu_bits<float>(0x7fffffffu);
    return gpu_bits<float>((bits + 0x1000) & 0xffffe000u);   // ties away from zero
}

GPU_INLINE void gpu_meet(const char *file, int line)
{
    if (gpu_block_size() - gpu_block_rank() / 32 * 32 < 32)
        gpu_stop("WMMA takes all 32 lanes of a warp; this warp has fewer", file, line);
    gpu_warp(GPU_BALLOT, ~0u, 0, 0, file, line);
}
template <class T>
GPU_INLINE void gpu_check_matrix(const T *address, unsigned stride, const char *file, int line)
{
    if ((uintptr_t)address % 32)
        gpu_stop("WMMA takes matrices whose address is a multiple of 32 bytes", file, line);
    if (stride * sizeof(T) % 16)
        gpu_stop("WMMA takes matrices whose rows or columns are a multiple of 16 bytes apart", file,
                 line);
    gpu_meet(file, line);
}

template <class Fragment>
GPU_INLINE size_t gpu_position(int i, unsigned stride, bool by_rows)
{
    unsigned number = 32 * (unsigned)i + gpu_lane();
    size_t row = number / Fragment::shape::columns, column = number % Fragment::shape::columns;
    return by_rows ? row * stride + column : column * stride + row;
}

template <class Use, int m, int n, int k, class T, class Layout>
GPU_INLINE void fill_fragment(fragment<Use, m, n, k, T, Layout> &a,
                              const typename gpu_same<typename gpu_element<T>::type>::type &value)
{
    for (auto &element : a.x) element = value;
}

template <class Fragment, class T>
GPU_INLINE void gpu_load(Fragment &a, const T *from, unsigned stride, bool by_rows,
                         const char *file, int line)
{
    gpu_check_matrix(from, stride, file, line);
    for (int i = 0; i < Fragment::gpu_distinct; ++i)
        a.x[i] = from[gpu_position<Fragment>(i, stride, by_rows)];
    for (int i = Fragment::gpu_distinct; i < Fragment::num_elements; ++i)
        a.x[i] = a.x[i % Fragment::gpu_distinct];
}
template <class Use, int m, int n, int k, class T, class Layout>
GPU_INLINE void load_matrix_sync(fragment<Use, m, n, k, T, Layout> &a,
                                 const typename gpu_element<T>::type *from, unsigned stride,
                                 GPU_HERE)
{
    static_assert(!gpu_is<Use, accumulator>::value, "an accumulator is loaded with a layout");
    gpu_load(a, from, stride, gpu_is<Layout, row_major>::value, file, line);
}
template <int m, int n, int k, class T>
GPU_INLINE void load_matrix_sync(fragment<accumulator, m, n, k, T> &a, const T *from,
                                 unsigned stride, layout_t layout, GPU_HERE)
{
    gpu_load(a, from, stride, layout == mem_row_major, file, line);
}
template <int m, int n, int k, class T>
GPU_INLINE void store_matrix_sync(T *to, const fragment<accumulator, m, n, k, T> &a,
                                  unsigned stride, layout_t layout, GPU_HERE)
{
    typedef fragment<accumulator, m, n, k, T> Fragment;
    gpu_check_matrix(to, stride, file, line);
    for (int i = 0; i < Fragment::gpu_distinct; ++i)
        to[gpu_position<Fragment>(i, stride, layout == mem_row_major)] = a.x[i];
}

// The type in which products are added, and an element in that type. Of TF32 the lower 13 bits are
// ignored.
template <class T, class Sum> struct gpu_multiplied
{
    typedef Sum type;
    GPU_INLINE Sum value(T x) { return (Sum)x; }
};
template <class T> struct gpu_multiplied<T, __half>
{
    typedef float type;
    GPU_INLINE float value(T x) { return (float)x; }
};
template <> struct gpu_multiplied<precision::tf32, float>
{
    typedef float type;
    GPU_INLINE float value(float x)
    {
        return gpu_bits<float>(gpu_bits<unsigned>(x) & 0xffffe000u);
    }
};

template <class A, class B, class Sums, class Factor, class Sum, int m, int n, int k>
struct gpu_product : GpuTogether
{
    const A *a;
    const B *b;
    const Sums *c;
    Sums *d;
    bool saturate;
    typedef gpu_multiplied<Factor, Sum> Convert;
    typedef typename Convert::type Real;

    GPU_ALWAYS gpu_product(const A *a, const B *b, const Sums *c, Sums *d, bool saturate)
        : GpuTogether{multiply}, a(a), b(b), c(c), d(d), saturate(saturate)
    {
    }

    template <int columns, class Fragment, class Change>
    GPU_UNCHECKED GPU_INLINE void each(GpuTogether *const *all, Fragment which, Change change)
    {
        for (int lane = 0; lane < 32; ++lane) {
            auto &own = *(((gpu_product *)all[lane])->*which);
            for (int i = 0; i < own.gpu_distinct; ++i)
                change(own.x[i], (32 * i + lane) / columns, (32 * i + lane) % columns);
        }
    }
    GPU_UNCHECKED static void multiply(GpuTogether *const *all, unsigned)
    {
        Real left[m][k], right[k][n], sums[m][n];
        each<k>(all, &gpu_product::a, [&](auto x, int row, int column) GPU_UNCHECKED {
            left[row][column] = Convert::value(x);
        });
        each<n>(all, &gpu_product::b, [&](auto x, int row, int column) GPU_UNCHECKED {
            right[row][column] = Convert::value(x);
        });
        each<n>(all, &gpu_product::c, [&](auto x, int row, int column) GPU_UNCHECKED {
            sums[row][column] = (Real)x;
        });
        for (int i = 0; i < m; ++i)
            for (int p = 0; p < k; ++p)
                for (int j = 0; j < n; ++j) sums[i][j] += left[i][p] * right[p][j];
        each<n>(all, &gpu_product::d, [&](Sum &x, int row, int column) GPU_UNCHECKED {
            x = (Sum)sums[row][column];
        });
    }
};

template <int m, int n, int k, class T, class Sum, class LayoutA, class LayoutB>
GPU_INLINE void mma_sync(fragment<accumulator, m, n, k, Sum> &d,
                         const fragment<matrix_a, m, n, k, T, LayoutA> &a,
                         const fragment<matrix_b, m, n, k, T, LayoutB> &b,
                         const fragment<accumulator, m, n, k, Sum> &c, GPU_HERE)
{
    static_assert(sizeof(T) > 1 || gpu_is<T, precision::tf32>::value || gpu_is<Sum, int>::value,
                  "integers are added in int");
    gpu_meet(file, line);
    gpu_product<fragment<matrix_a, m, n, k, T, LayoutA>, fragment<matrix_b, m, n, k, T, LayoutB>,
                fragment<accumulator, m, n, k, Sum>, T, Sum, m, n, k>
        own(&a, &b, &c, &d, false);
    gpu_warp(GPU_TOGETHER, ~0u, (uint64_t)&own, 0, file, line);
}
}   // namespace wmma
}   // namespace nvcuda
