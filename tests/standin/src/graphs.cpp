// Graphs, instantiated graphs and their launches.
#include "graphs.h"

#include "call.h"
#include "knobs.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <queue>

typedef std::vector<Work> Works;

struct CUgraph_st {
    std::vector<Node> nodes;
};

struct CUgraphExec_st {
    std::shared_ptr<const Works> works;   // in the order of replays
    Point last;                           // its latest launch, which the next one waits for
};

static auto &graphs = make_state<std::map<cudaGraph_t, std::unique_ptr<CUgraph_st>>>();
static auto &instances = make_state<std::map<cudaGraphExec_t, std::unique_ptr<CUgraphExec_st>>>();

cudaGraph_t make_graph(std::vector<Node> nodes)
{
    auto graph = std::make_unique<CUgraph_st>(CUgraph_st{std::move(nodes)});
    cudaGraph_t handle = graph.get();
    graphs[handle] = std::move(graph);
    return handle;
}

// An order in which CUDA might do the nodes. In eager mode it is that of the capture. In late mode
// it is the one in which, of the nodes whose predecessors are done, the last captured goes first:
// work of forked streams that was in order by chance then is not.
static Works order(const std::vector<Node> &nodes)
{
    std::vector<size_t> waits(nodes.size());
    std::vector<std::vector<size_t>> followers(nodes.size());
    std::priority_queue<size_t> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
        waits[i] = nodes[i].after.size();
        for (size_t before : nodes[i].after) followers[before].push_back(i);
        if (!waits[i]) ready.push(i);
    }
    std::vector<size_t> found;
    while (!ready.empty()) {
        size_t next = ready.top();
        ready.pop();
        found.push_back(next);
        for (size_t follower : followers[next])
            if (!--waits[follower]) ready.push(follower);
    }
    if (!knobs().late) std::sort(found.begin(), found.end());
    Works works;
    for (size_t i : found) works.push_back(nodes[i].work);
    return works;
}

// Which nodes come before one in every order, and that itself.
static std::vector<bool> all_before(const std::vector<Node> &nodes, size_t node)
{
    std::vector<bool> before(nodes.size(), false);
    before[node] = true;
    for (size_t i = node + 1; i--;)
        if (before[i])
            for (size_t earlier : nodes[i].after) before[earlier] = true;
    return before;
}

static void trace_graph(const std::vector<Node> &nodes)
{
    fprintf(stderr, "stand-in: a graph of %zu nodes\n", nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
        if (!nodes[i].work.line) continue;
        auto before = all_before(nodes, i);
        auto beside = std::count(before.begin(), before.begin() + (long)i, false);
        for (size_t later = i + 1; later < nodes.size(); ++later)
            beside += !all_before(nodes, later)[i];
        fprintf(stderr, "stand-in: %s, node %zu, may run beside %ld others\n", nodes[i].work.kind,
                i, beside);
    }
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *handle, cudaGraph_t graph, unsigned long long)
{
    return runtime_call(__func__, CONTEXT, [&] {
        auto found = graphs.find(graph);
        if (!handle || found == graphs.end()) return cudaErrorInvalidValue;
        auto instance = std::make_unique<CUgraphExec_st>();
        instance->works = std::make_shared<Works>(order(found->second->nodes));
        if (knobs().trace) trace_graph(found->second->nodes);
        *handle = instance.get();
        instances[instance.get()] = std::move(instance);
        return cudaSuccess;
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return runtime_call(__func__, CONTEXT, [&] {
        return graphs.erase(graph) ? cudaSuccess : cudaErrorInvalidValue;
    });
}

// Launches that are pending keep the works.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    return runtime_call(__func__, CONTEXT, [&] {
        return instances.erase(graph) ? cudaSuccess : cudaErrorInvalidValue;
    });
}

// No document says what a launch in a stream that captures does; CUDA 13.0 refuses it on an H200.
static cudaError_t launch(CUgraphExec_st &instance, Stream &stream)
{
    if (stream.capture) return invalidate(*stream.capture, cudaErrorStreamCaptureUnsupported);
    std::vector<Point> after;
    if (instance.last.queue) after.push_back(instance.last);
    for (const Work &work : *instance.works)
        if (cudaError_t error = enqueue(stream, work, after)) return error;
    instance.last = {stream.queue, stream.queue->enqueued};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        auto found = instances.find(graph);
        Stream *stream = find_stream(handle);
        if (found == instances.end()) return cudaErrorInvalidValue;
        return stream ? launch(*found->second, *stream) : cudaErrorInvalidResourceHandle;
    });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t graph, cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!instances.count(graph)) return cudaErrorInvalidValue;
        if (!stream) return cudaErrorInvalidResourceHandle;
        if (!stream->capture) return cudaSuccess;
        return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
    });
}
