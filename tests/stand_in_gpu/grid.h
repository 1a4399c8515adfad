// Part of scheduler.cpp: what blocks of a cooperative grid exchange through global memory; the names are those of
// kernels/grid.cuh.
//
// A published number is in memory at a random time, often as late as possible, but at the next fence of its thread, or of
// another thread of the block after a barrier of the block.  What a block has collected stays in its cache until the
// next fence of one of its threads, and may be read again right after it, as it is then.

struct Published {
    unsigned char *to, value[8];
    size_t bytes;
    int block, thread;
    unsigned barrier_phase;
};
struct AtCount {
    int thread;
    const unsigned long long* counter;
    unsigned long long count;
};
std::vector<Published> published;
std::vector<AtCount> at_count;
std::map<std::pair<int, const unsigned char*>, std::array<unsigned char, 16>> cached;  // by block and place

void forget_grid() { published.clear(), at_count.clear(), cached.clear(); }

void complete_published(size_t at) {
    const Published store = published[at];
    memcpy(store.to, store.value, store.bytes);
    published[at] = published.back(), published.pop_back();
}
