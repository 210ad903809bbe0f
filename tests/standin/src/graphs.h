// Graphs: captured work, and its replays.
#pragma once
#include "captures.h"

cudaGraph_t make_graph(std::vector<Node> nodes);
