// A batch of a data set in device memory: images[indices], each channel times its scale plus its
// shift, and the labels of the same images.
//
// Shapes: images (items, channels, area) of bytes, indices (count), scale and shift (channels),
// output (count, channels, area); labels (items), or numbers to predict (items, columns). A thread
// owns one element of the batch. For an index out of range nothing is read: pixels and numbers are
// NaN and the label is -1.

extern "C" __global__ void __launch_bounds__(256)
gather_images(const uint8* __restrict__ images, const int64* __restrict__ indices,
              const real* __restrict__ scale, const real* __restrict__ shift,
              real* __restrict__ output, int64 items, int count, int channels, int area) {
    const int64 i = thread_index();
    const int64 pixels = (int64)channels * area;
    if (i >= count * pixels) return;
    const int64 item = indices[i / pixels];
    const int64 pixel = i % pixels;
    const int channel = pixel / area;
    const bool valid = item >= 0 && item < items;
    output[i] = valid ? images[item * pixels + pixel] * scale[channel] + shift[channel]
                      : not_a_number();
}

extern "C" __global__ void __launch_bounds__(256)
gather_labels(const int64* __restrict__ labels, const int64* __restrict__ indices,
              int64* __restrict__ output, int64 items, int count) {
    const int64 i = thread_index();
    if (i >= count) return;
    const int64 item = indices[i];
    output[i] = item >= 0 && item < items ? labels[item] : -1;
}

extern "C" __global__ void __launch_bounds__(256)
gather_numbers(const real* __restrict__ labels, const int64* __restrict__ indices,
               real* __restrict__ output, int64 items, int columns, int count) {
    const int64 i = thread_index();
    if (i >= (int64)count * columns) return;
    const int64 item = indices[i / columns];
    output[i] = item >= 0 && item < items ? labels[item * columns + i % columns] : not_a_number();
}
