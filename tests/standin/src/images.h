// What the stand-in's NVRTC produces in place of machine code: the source itself with its options.
#pragma once
#include <string>

const char image_start[] = "STAND-IN ";

// The start, the bytes of the options, and both texts.
inline std::string make_image(const std::string &options, const std::string &source)
{
    return image_start + std::to_string(options.size()) + "\n" + options + source;
}
