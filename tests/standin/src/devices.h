// Devices: which one a host thread uses, what each can do, and which may access whose memory.
#pragma once
#include "errors.h"
#include "exports.h"

EXPORTED int current_device();   // of this host thread
EXPORTED void set_current_device(int device);
int attribute(int number);   // of CUdevice_attribute; cudaDeviceAttr has the same numbers
bool has_access(int device, int owner);   // whether kernels of `device` reach memory of `owner`

const int max_shared_bytes = 48 << 10, max_shared_bytes_opt_in = 99 << 10;
