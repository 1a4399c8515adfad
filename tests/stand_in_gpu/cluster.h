// Part of scheduler.cpp: what blocks of a cluster exchange, and copies into shared memory that go on by themselves.
//
// A store into another block is completed at a random time after it was made, in any order, and often as late as
// possible; an asynchronous copy is made at once, or when its thread waits for it.

// An mbarrier, in the eight bytes that the kernel has for it.
struct Mbarrier {
    int bytes;  // that are still expected; negative if they come before they are expected
    unsigned char arrivals, count, parity, state;
};
constexpr unsigned char INITIALIZED = 0x51, VISIBLE = 0x52;
struct Store {
    unsigned char* to;
    unsigned char value[8];
    size_t bytes;
    Mbarrier* mbarrier;
    int block;
};
struct Copy {
    int thread;
    void* to;
    const void* from;
    size_t bytes;
};
struct AtMbarrier {
    int thread;
    const Mbarrier* mbarrier;
    unsigned parity;
};
struct NotFenced {
    int thread;
    Mbarrier* mbarrier;
};
std::vector<Store> stores;
std::vector<Copy> copies;
std::vector<AtMbarrier> at_mbarrier;
std::vector<NotFenced> not_fenced;
bool stores_are_late;

void forget_clusters() { stores.clear(), copies.clear(), at_mbarrier.clear(), not_fenced.clear(); }

void end_phase_if_complete(Mbarrier* mbarrier) {
    if (mbarrier->arrivals || mbarrier->bytes) return;
    mbarrier->parity ^= 1, mbarrier->arrivals = mbarrier->count;
    for (size_t i = 0; i < at_mbarrier.size();) {
        if (at_mbarrier[i].mbarrier != mbarrier || at_mbarrier[i].parity == mbarrier->parity) {
            ++i;
            continue;
        }
        ready.push_back(at_mbarrier[i].thread);
        at_mbarrier[i] = at_mbarrier.back(), at_mbarrier.pop_back();
    }
}

void complete_a_store() {
    const size_t at = draw_below(stores.size());
    const Store store = stores[at];
    stores[at] = stores.back(), stores.pop_back();
    if (blocks[store.block].ended) fail("a store into the shared memory of a block whose threads have ended");
    memcpy(store.to, store.value, store.bytes);
    store.mbarrier->bytes -= (int)store.bytes;
    end_phase_if_complete(store.mbarrier);
}

// Where the dynamic shared memory of a block begins.
unsigned char* dynamic_memory(const Block& b) {
    for (const Variable& v : b.variables)
        if (v.key == &dynamic_key) return b.arena + v.offset;
    fail("a store into a block that has not begun");
}

Mbarrier* mbarrier_at(void* place) {
    Mbarrier* const mbarrier = (Mbarrier*)place;
    if (mbarrier->state != INITIALIZED && mbarrier->state != VISIBLE) fail("this is no mbarrier");
    return mbarrier;
}
