// Unlike that of the C library, a failing assertion ends only the launch.
#include_next <assert.h>
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) GPU_ASSERT(condition, #condition)
#endif
