// NVRTC. The emulator compiles the sources, to report errors. What is returned as PTX or cubin is
// the source with its options, which modules.cpp compiles when it is loaded.
#include "exports.h"
#include "images.h"
#include "nvrtc.h"

#include <cuda.h>

#include <cstring>

struct _nvrtcProgram {
    std::string source, log, image;
};

#define BEGIN() \
    do { \
        if (int error = standin_begin(__func__)) return (nvrtcResult)error; \
    } while (0)

#define RESULTS(each) \
    each(NVRTC_SUCCESS) \
    each(NVRTC_ERROR_OUT_OF_MEMORY) \
    each(NVRTC_ERROR_PROGRAM_CREATION_FAILURE) \
    each(NVRTC_ERROR_INVALID_INPUT) \
    each(NVRTC_ERROR_INVALID_PROGRAM) \
    each(NVRTC_ERROR_INVALID_OPTION) \
    each(NVRTC_ERROR_COMPILATION) \
    each(NVRTC_ERROR_BUILTIN_OPERATION_FAILURE) \
    each(NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID) \
    each(NVRTC_ERROR_INTERNAL_ERROR)

const char *nvrtcGetErrorString(nvrtcResult result)
{
    standin_begin(__func__);
    switch (result) {
#define NAME(name) case name: return #name;
        RESULTS(NAME)
#undef NAME
    default: return "NVRTC_ERROR unknown";
    }
}

nvrtcResult nvrtcVersion(int *major, int *minor)
{
    BEGIN();
    *major = CUDA_VERSION / 1000;
    *minor = CUDA_VERSION % 1000 / 10;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetNumSupportedArchs(int *count)
{
    BEGIN();
    *count = 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetSupportedArchs(int *architectures)
{
    BEGIN();
    *architectures = standin_capability();
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *,
                               int header_count, const char *const *, const char *const *)
{
    BEGIN();
    if (header_count) return NVRTC_ERROR_INVALID_INPUT;   // the emulator takes none
    *program = new _nvrtcProgram{source, "", ""};
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program)
{
    BEGIN();
    delete *program;
    *program = nullptr;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options)
{
    BEGIN();
    std::string lines, text;
    for (int i = 0; i < count; ++i) lines += std::string(options[i]) + "\n";
    if (!standin_call_bridge("compile", program->source.c_str(), lines.c_str(), &text)) {
        program->log = text;
        return NVRTC_ERROR_COMPILATION;
    }
    // CuPy's cache of kernels is keyed by the comments in the PTX of an empty source. They are the
    // emulator's version here.
    program->image = program->source.empty() ? "// " + text + "\n"
                                             : make_image(lines, program->source);
    return NVRTC_SUCCESS;
}

// ------------------------------------------------------------------------------------- results
static nvrtcResult size_of(const std::string &text, size_t *bytes)
{
    *bytes = text.size() + 1;
    return NVRTC_SUCCESS;
}

static nvrtcResult copy_to(const std::string &text, char *to)
{
    memcpy(to, text.c_str(), text.size() + 1);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *bytes)
{
    BEGIN();
    return size_of(program->image, bytes);
}

nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *to)
{
    BEGIN();
    return copy_to(program->image, to);
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes)
{
    BEGIN();
    return size_of(program->image, bytes);
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *to)
{
    BEGIN();
    return copy_to(program->image, to);
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes)
{
    BEGIN();
    return size_of(program->log, bytes);
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *to)
{
    BEGIN();
    return copy_to(program->log, to);
}

// The emulator compiles no templates by name.
nvrtcResult nvrtcAddNameExpression(nvrtcProgram, const char *)
{
    BEGIN();
    return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}

nvrtcResult nvrtcGetLoweredName(nvrtcProgram, const char *, const char **)
{
    BEGIN();
    return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}
