// GPU_EXPORT(id, (kernel), (bounds), names..., nullptr) makes a kernel callable by the runtime: it
// defines a description of its parameters, deduced from its C++ type, and a function that unpacks
// the arguments and calls it.
#pragma once

#define GPU_STRIP(...) __VA_ARGS__

template <class T> struct gpu_kind { static constexpr char value = 's'; };
template <> struct gpu_kind<void> { static constexpr char value = 'v'; };
template <> struct gpu_kind<bool> { static constexpr char value = 'b'; };
template <> struct gpu_kind<float> { static constexpr char value = 'f'; };
template <> struct gpu_kind<double> { static constexpr char value = 'f'; };
template <> struct gpu_kind<char> { static constexpr char value = 'i'; };
template <> struct gpu_kind<signed char> { static constexpr char value = 'i'; };
template <> struct gpu_kind<short> { static constexpr char value = 'i'; };
template <> struct gpu_kind<int> { static constexpr char value = 'i'; };
template <> struct gpu_kind<long> { static constexpr char value = 'i'; };
template <> struct gpu_kind<long long> { static constexpr char value = 'i'; };
template <> struct gpu_kind<unsigned char> { static constexpr char value = 'u'; };
template <> struct gpu_kind<unsigned short> { static constexpr char value = 'u'; };
template <> struct gpu_kind<unsigned> { static constexpr char value = 'u'; };
template <> struct gpu_kind<unsigned long> { static constexpr char value = 'u'; };
template <> struct gpu_kind<unsigned long long> { static constexpr char value = 'u'; };

// The fields of a struct, as far as they are known.
template <class T> struct gpu_layout { static constexpr const GpuField *fields = nullptr; };
template <class T> struct gpu_field_type {
    typedef T type;
    static constexpr uint32_t count = 1;
};
template <class T, size_t length> struct gpu_field_type<T[length]> {
    typedef typename gpu_field_type<T>::type type;
    static constexpr uint32_t count = length * gpu_field_type<T>::count;
};
template <class T> struct gpu_kind<T *> { static constexpr char value = 'p'; };
template <class T> struct gpu_kind<const T> : gpu_kind<T> {};
template <class T> constexpr GpuField gpu_describe_field(uint32_t offset)
{
    typedef typename gpu_field_type<T>::type element;
    return {gpu_kind<element>::value, offset, sizeof(element), gpu_field_type<T>::count};
}
#define GPU_FIELD(id, name)                                                                   \
    template <class S>                                                                        \
    constexpr auto id(int) -> decltype((void)&((S *)0)->name, GpuField())                     \
    {                                                                                         \
        return gpu_describe_field<decltype(S::name)>(__builtin_offsetof(S, name));            \
    }                                                                                         \
    template <class S> constexpr GpuField id(...) { return {'?', 0, 1, 1}; }
#define GPU_LAYOUT(type, ...)                                                                 \
    template <> struct gpu_layout<GPU_STRIP type> {                                           \
        static constexpr GpuField fields[] = {__VA_ARGS__};                                   \
    };

// Describes a parameter and, for a pointer, its pointee. Top-level const is not part of a
// function's type, so only that of the pointee matters.
template <class T> struct gpu_type {
    static constexpr GpuParameter describe(uint32_t offset)
    {
        return {gpu_kind<T>::value, 0, 0, sizeof(T), 0, offset, gpu_layout<T>::fields};
    }
};
template <class T> struct gpu_type<T *> {
    static constexpr GpuParameter describe(uint32_t offset)
    {
        return {'p', gpu_kind<T>::value, 0, sizeof(T *), sizeof(T), offset, gpu_layout<T>::fields};
    }
};
template <class T> struct gpu_type<const T *> {
    static constexpr GpuParameter describe(uint32_t offset)
    {
        return {'p', gpu_kind<T>::value, 1, sizeof(T *), sizeof(T), offset, gpu_layout<T>::fields};
    }
};
template <class T> struct gpu_type<volatile T *> : gpu_type<T *> {};
template <class T> struct gpu_type<const volatile T *> : gpu_type<const T *> {};
template <> struct gpu_type<void *> {
    static constexpr GpuParameter describe(uint32_t offset)
    {
        return {'p', 'v', 0, sizeof(void *), 0, offset, nullptr};
    }
};
template <> struct gpu_type<const void *> {
    static constexpr GpuParameter describe(uint32_t offset)
    {
        return {'p', 'v', 1, sizeof(void *), 0, offset, nullptr};
    }
};

// Every packed argument starts at a multiple of 8 bytes.
template <class... Args> struct gpu_packing {
    template <int index> static constexpr uint32_t offset()
    {
        constexpr uint32_t sizes[] = {sizeof(Args)..., 0};
        uint32_t sum = 0;
        for (int i = 0; i < index; ++i) sum += (sizes[i] + 7) / 8 * 8;
        return sum;
    }
};

template <int... index> struct gpu_indices {};
template <int count, int... index>
struct gpu_counted : gpu_counted<count - 1, count - 1, index...> {};
template <int... index> struct gpu_counted<0, index...> { typedef gpu_indices<index...> type; };

template <auto kernel, class Signature = decltype(kernel)> struct gpu_entry;
template <auto kernel, class... Args> struct gpu_entry<kernel, void (*)(Args...)> {
    typedef gpu_packing<Args...> packing;
    static constexpr int count = sizeof...(Args);
    static constexpr void (*address)(Args...) = kernel;

    template <int... index>
    GPU_UNCHECKED static void call(const char *packed, gpu_indices<index...>)
    {
        (void)packed;
        kernel(*(const Args *)(packed + packing::template offset<index>())...);
    }
    GPU_UNCHECKED static void run(const char *packed)
    {
        call(packed, typename gpu_counted<count>::type());
    }

    struct Table { GpuParameter entry[count + 1]; };
    template <int... index> static constexpr Table describe(gpu_indices<index...>)
    {
        return {{gpu_type<Args>::describe(packing::template offset<index>())..., GpuParameter{}}};
    }
    static constexpr Table table = describe(typename gpu_counted<count>::type());
};

constexpr int gpu_first() { return 0; }
template <class... Rest> constexpr int gpu_first(int first, Rest...) { return first; }

extern "C" const uint32_t gpu_mxcsr;   // defined in the assembler text: see subnormals.py

#define GPU_VISIBLE __attribute__((visibility("default")))
#define GPU_EXPORT(id, kernel, bounds, ...)                                                     \
    typedef gpu_entry<&GPU_STRIP kernel> gpu_entry_##id;                                        \
    extern "C" void (*const gpu_address_##id)() = (void (*)())gpu_entry_##id::address;           \
    static const char *const gpu_names_##id[] = {__VA_ARGS__};                                  \
    extern "C" GPU_VISIBLE const GpuKernel gpu_export_##id = {                                  \
        #id, gpu_entry_##id::run, gpu_entry_##id::table.entry, gpu_names_##id, gpu_entry_##id::count,  \
        gpu_first bounds, &gpu_mxcsr};
