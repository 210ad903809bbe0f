// Streams: queues of work, each done in order, that wait for each other by events.
//
// In eager mode work is done as soon as it is enqueued. In late mode it is done when something
// waits for it, so that a missing wait shows. In mixed mode the work of all streams, and the nodes
// of their graphs, are then done in turns, so that streams that write to the same memory show.
#pragma once
#include "errors.h"
#include "exports.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

struct Capture;
struct Queue;

struct Point {   // the end of the first `count` works of a queue
    std::shared_ptr<Queue> queue;
    uint64_t count = 0;
    EXPORTED bool is_done() const;
};

typedef std::deque<Point> Line;   // works that are done in the order of the calls, in all streams

struct Work {
    const char *kind;
    // Returns a fault, which sticks, or cudaErrorNotReady: it waits for others, to be called again.
    std::function<cudaError_t()> run;
    std::shared_ptr<Line> line = nullptr;
};

struct Queued {
    Work work;
    std::vector<Point> after;
    uint64_t number;   // in the order in which all works were enqueued
};

struct Queue {
    int device;
    bool blocking;   // waits for the legacy stream of its device, and that for it
    std::deque<Queued> pending;
    uint64_t enqueued = 0, done = 0;   // works
};

struct CUstream_st {
    std::shared_ptr<Queue> queue;
    unsigned flags = 0;
    int priority = 0;
    std::shared_ptr<Capture> capture;
    std::vector<size_t> tail;   // nodes of the capture that the next one depends on
};
typedef CUstream_st Stream;

EXPORTED Stream *find_stream(cudaStream_t handle);   // null: there is no such stream (any more)
bool is_legacy(const Stream &stream);
EXPORTED cudaError_t enqueue(Stream &stream, Work work, std::vector<Point> after = {});
EXPORTED void finish(Point point);
// Does work until a point is done; false where some of it waits for others first.
EXPORTED bool advance(const Point &point);
EXPORTED void advance_all();
EXPORTED void wake_waiting();   // those that wait for others look again
void finish_device(int device);
void finish_all();
cudaError_t synchronize(Stream &stream);      // unless a capture forbids it
cudaError_t finish_work_of(Stream &stream);
cudaError_t query(const Point &point);
EXPORTED cudaError_t report_freed(const char *what);   // the fault of work whose memory has been freed
