// What kernels print. As on a GPU, the text is shown when the launch has ended, and what does not
// fit in the buffer is lost.

static const size_t output_bytes = 1 << 20;   // CUDA's default

struct Output {
    size_t used, lost;   // bytes
    char text[output_bytes];
};

extern "C" __attribute__((visibility("default"))) Output gpu_output = {};
static std::mutex printing;

static int count_conversions(const char *format)
{
    int count = 0;
    for (; *format; ++format) {
        if (*format != '%') continue;
        if (format[1] == '%') ++format;
        else ++count;
    }
    return count;
}

// The `printf` of kernels. Returns the number of conversions, as CUDA's does.
GPU_API int gpu_printf(const char *format, ...)
{
    Mxcsr host(worker->host_mxcsr);
    std::lock_guard<std::mutex> guard(printing);
    size_t left = output_bytes - gpu_output.used;
    va_list values;
    va_start(values, format);
    int wanted = vsnprintf(gpu_output.text + gpu_output.used, left, format, values);
    va_end(values);
    if (wanted < 0) return -1;
    if ((size_t)wanted >= left) gpu_output.lost += (size_t)wanted;
    else gpu_output.used += (size_t)wanted;
    return count_conversions(format);
}

// For callers other than Python, which shows the text itself.
static void show_output()
{
    if (!gpu_output.used) return;
    fwrite(gpu_output.text, 1, gpu_output.used, stdout);
    fflush(stdout);
    gpu_output.used = gpu_output.lost = 0;
}
