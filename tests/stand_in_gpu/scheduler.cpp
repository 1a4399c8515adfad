// CUDA's threads on a CPU.  Clusters of blocks (most are of one block) run one after the other in random order.  The
// threads of a cluster are fibers: one runs until it waits for others, and then a random one is next, so no kernel may
// rely on an order.  Now and then a thread, a warp or a whole block is held back for as long as the others can go on:
// random order alone seldom makes one thread late enough for a missing barrier to be noticed.
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <map>
#include <new>
#include <vector>

#define SHIM_SCHEDULER
#include "shim.h"

namespace shim {

Index thread_index, block_index, block_size, grid_size;
const char dynamic_key = 0;
size_t dynamic_bytes;

namespace {

constexpr size_t STACK = 256 << 10, GUARD = 64;
constexpr size_t STATIC_LIMIT = 48 << 10, SHARED_LIMIT = 227 << 10;
constexpr unsigned char GUARD_BYTE = 0xA5;

struct Fiber {
    jmp_buf point;
    ucontext_t context;
    char* stack;
    int thread;
};
struct Exchange {  // of the lanes of one mask; those of the next exchange may already write while some still read
    unsigned mask, arrived = 0, phase = 0, votes[2] = {};
    int line = 0;
    unsigned char slot[2][32][8];
    unsigned operands[2][32][6];  // of a product of matrices: a and b
};
struct Variable {
    const void* key;
    size_t offset, bytes;
};

struct Block {  // of the cluster that runs
    Index index;
    std::vector<int> at_barrier;
    int barrier_line = 0, votes[2] = {}, ended = 0;
    unsigned barrier_phase = 0;
    std::vector<std::vector<Exchange>> exchanges;  // of each warp
    std::vector<Variable> variables;
    unsigned char* arena = nullptr;
    size_t arena_end = 0;
};

const Launch* how;
void (*body)(void**);
void** arguments;
jmp_buf home;  // of `run_cluster`
int threads, ended;  // threads of a block; threads of the cluster that have ended
uint64_t random_state;

Fiber* current;
std::vector<Fiber*> waiting_fiber;   // of each thread of the cluster; null if the thread has not begun
std::vector<Fiber*> fibers, idle;    // all; those that have run a thread to its end
std::vector<int> ready, held;        // threads that can go on; those of them that are held back
int held_first, held_end, patience;
bool newest_first;

std::vector<Block> blocks;
std::vector<int> at_cluster_barrier;
int cluster_line;

constexpr size_t ARENA = SHARED_LIMIT + (64 << 10);
std::vector<unsigned char*> arenas;  // kept from one launch to the next

uint32_t draw() {  // xorshift64*
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 2685821657736338717ull) >> 32);
}
uint32_t draw_below(uint32_t n) { return (uint32_t)(((uint64_t)draw() * n) >> 32); }

template <class... Values>
[[noreturn]] void fail(const char* format, Values... values) {
    const int length = snprintf(how->message, how->capacity, format, values...);
    if (length < how->capacity)
        snprintf(how->message + length, how->capacity - length, " (block %u, %u, %u; thread %u, %u, %u)", block_index.x,
                 block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z);
    _longjmp(home, 2);
}

Block& block() { return blocks[current->thread / threads]; }

#include "cluster.h"
#include "grid.h"

int choose() {
    if (patience-- <= 0) {
        ready.insert(ready.end(), held.begin(), held.end());
        held.clear();
        const int first = draw_below(blocks.size()) * threads, thread = draw_below(threads), which = draw() % 4;
        held_first = first + thread, held_end = held_first + 1;
        if (which < 2) held_first = first + thread / 32 * 32, held_end = held_first + 32;
        if (held_end > first + threads) held_end = first + threads;
        newest_first = draw() % 2, patience = draw_below(4 * threads * blocks.size());
        if (which == 3 && blocks.size() > 1) {
            held_first = first, held_end = first + threads;
            patience = draw_below(400 * threads);  // the others may come far ahead, until they need the block
        }
        stores_are_late = draw() % 2;
    }
    if (!stores_are_late && !stores.empty() && draw() % 2) complete_a_store();
    if (!stores_are_late && !published.empty() && draw() % 2) complete_published(draw_below(published.size()));
    for (;;) {
        while (!ready.empty()) {
            const size_t at = newest_first ? ready.size() - 1 : draw_below(ready.size());
            const int thread = ready[at];
            ready[at] = ready.back(), ready.pop_back();
            if (thread < held_first || thread >= held_end) return thread;
            held.push_back(thread);
        }
        if (!held.empty()) {
            ready.swap(held);
            held_end = held_first;
        } else if (!stores.empty()) {
            complete_a_store();
        } else if (!published.empty()) {
            complete_published(draw_below(published.size()));
        } else {
            return -1;
        }
    }
}

void run_threads();

[[noreturn]] void run_another() {
    const int thread = choose();
    const int all = threads * (int)blocks.size();
    if (thread < 0 && ended == all) _longjmp(home, 1);
    if (thread < 0) {
        size_t most = 0;
        for (size_t i = 1; i < blocks.size(); ++i)
            if (blocks[i].at_barrier.size() > blocks[most].at_barrier.size()) most = i;
        fail("deadlock: of %d threads %d have ended, %d wait at the barrier on line %d, %d for an mbarrier, and the others "
             "wait for lanes of their warp, for the cluster or for the grid", all, ended, (int)blocks[most].at_barrier.size(),
             blocks[most].barrier_line, (int)at_mbarrier.size());
    }
    const int in_block = thread % threads;
    block_index = blocks[thread / threads].index;
    thread_index.x = in_block % block_size.x;
    thread_index.y = in_block / block_size.x % block_size.y;
    thread_index.z = in_block / block_size.x / block_size.y;
    current = waiting_fiber[thread];
    if (!current && !idle.empty()) current = idle.back(), idle.pop_back();
    if (current) {
        current->thread = thread;
        _longjmp(current->point, 1);
    }
    current = new Fiber;
    fibers.push_back(current);
    current->thread = thread;
    current->stack = (char*)mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    getcontext(&current->context);
    current->context.uc_stack.ss_sp = current->stack;
    current->context.uc_stack.ss_size = STACK;
    current->context.uc_link = nullptr;
    makecontext(&current->context, run_threads, 0);
    setcontext(&current->context);
    __builtin_unreachable();
}

// The loop of a fiber: one thread after the other.
void run_threads() {
    for (;;) {
        body(arguments);
        for (const Copy& copy : copies)
            if (copy.thread == current->thread) fail("a thread has ended before its asynchronous copies");
        ++ended, ++block().ended;
        idle.push_back(current);
        if (!_setjmp(current->point)) run_another();
    }
}

void wait() {
    waiting_fiber[current->thread] = current;
    if (!_setjmp(current->point)) run_another();
}

void drop_fibers() {
    for (Fiber* fiber : fibers) munmap(fiber->stack, STACK), delete fiber;
    fibers.clear(), idle.clear();
}

// Runs the blocks from this one on; returns whether they ended without an error.  `fail` comes back here.
bool run_cluster(unsigned first) {
    const int size = how->cluster, all = threads * size;
    blocks.assign(size, Block());
    for (int i = 0; i < size; ++i) {
        const unsigned number = first + i;
        blocks[i].index = {number % grid_size.x, number / grid_size.x % grid_size.y, number / grid_size.x / grid_size.y};
        blocks[i].exchanges.resize((threads + 31) / 32);
        if ((int)arenas.size() == i) arenas.push_back(new (std::align_val_t(128)) unsigned char[ARENA]);
        blocks[i].arena = arenas[i];
    }
    ended = 0, patience = 0;
    held.clear(), at_cluster_barrier.clear(), forget_clusters(), forget_grid();
    ready.resize(all), waiting_fiber.assign(all, nullptr);
    for (int i = 0; i < all; ++i) ready[i] = i;
    const int reason = _setjmp(home);
    if (!reason) run_another();
    if (reason == 2) return false;
    for (const Block& b : blocks)
        for (const Variable& v : b.variables)
            for (size_t i = 0; i < GUARD; ++i)
                if (b.arena[v.offset - 1 - i] != GUARD_BYTE || b.arena[v.offset + v.bytes + i] != GUARD_BYTE)
                    fail("a write outside a shared variable of %d bytes", (int)v.bytes);
    return true;
}

void on_signal(int number) {
    if (number == SIGILL || number == SIGTRAP) fail("an access to an address that is not a multiple of the type's alignment");
    fail("an address outside memory, or an integer division by zero: signal %d", number);
}

// Waits for the lanes of the mask; returns what they exchange, and whether it is its first or second half.
Exchange& meet_lanes(unsigned mask, const void* mine, int vote, unsigned& side, int line,
                     const unsigned* operands = nullptr) {
    const int first = current->thread / threads * threads, warp = (current->thread - first) / 32;
    const int lane = (current->thread - first) % 32, lanes = threads - warp * 32;
    if (!(mask >> lane & 1)) fail("line %d: lane %d is not in its own mask %08x", line, lane, mask);
    if (lanes < 32 && mask >> lanes) fail("line %d: the mask %08x has lanes that a warp of %d lacks", line, mask, lanes);
    size_t at = 0;
    std::vector<Exchange>& all = block().exchanges[warp];
    while (at < all.size() && all[at].mask != mask) ++at;
    if (at == all.size()) {
        all.emplace_back();
        all.back().mask = mask;
        memset(all.back().slot, 0xFF, sizeof all.back().slot);
    }
    Exchange* e = &all[at];
    side = e->phase & 1;
    if (!e->arrived) e->line = line, e->votes[side] = 0;
    else if (e->line != line) fail("lanes of a warp wait on the lines %d and %d", e->line, line);
    if (mine) memcpy(e->slot[side][lane], mine, 8);
    if (operands) memcpy(e->operands[side][lane], operands, sizeof e->operands[side][lane]);
    e->votes[side] |= (unsigned)(vote != 0) << lane;
    e->arrived |= 1u << lane;
    if (e->arrived == mask) {
        e->arrived = 0, ++e->phase;
        for (int other = 0; other < 32; ++other)
            if (mask >> other & 1) ready.push_back(first + warp * 32 + other);
    }
    wait();
    return block().exchanges[warp][at];
}
}  // namespace

int barrier(int vote, int line) {
    Block& b = block();
    if (b.ended) fail("line %d: a barrier after %d threads of the block have ended", line, b.ended);
    const unsigned side = b.barrier_phase & 1;
    if (b.at_barrier.empty()) b.barrier_line = line, b.votes[side] = 0;
    else if (line != b.barrier_line)
        fail("threads of a block wait at the barriers on the lines %d and %d", b.barrier_line, line);
    b.votes[side] += vote != 0;
    b.at_barrier.push_back(current->thread);
    if ((int)b.at_barrier.size() == threads) {
        ++b.barrier_phase;
        ready.insert(ready.end(), b.at_barrier.begin(), b.at_barrier.end());
        b.at_barrier.clear();
    }
    wait();
    return b.votes[side];
}

void exchange(unsigned mask, const void* mine, unsigned source, void* result, int line) {
    unsigned side;
    const Exchange& e = meet_lanes(mask, mine, 0, side, line);
    if (mask >> source & 1) memcpy(result, e.slot[side][source], 8);
    else memset(result, 0xFF, 8);  // undefined
}

unsigned ballot(unsigned mask, int vote, int line) {
    unsigned side;
    const Exchange& e = meet_lanes(mask, nullptr, vote, side, line);
    return e.votes[side];
}

#include "tensor_core.h"

unsigned cluster_rank() { return current->thread / threads; }

void cluster_barrier(int line) {
    if (ended) fail("line %d: a barrier of the cluster after %d threads have ended", line, ended);
    if (at_cluster_barrier.empty()) cluster_line = line;
    else if (line != cluster_line) fail("threads of a cluster wait on the lines %d and %d", cluster_line, line);
    at_cluster_barrier.push_back(current->thread);
    if (at_cluster_barrier.size() == threads * blocks.size()) {
        ready.insert(ready.end(), at_cluster_barrier.begin(), at_cluster_barrier.end());
        at_cluster_barrier.clear();
    }
    wait();
}

void mbarrier_init(void* place, unsigned count) {
    *(Mbarrier*)place = {0, (unsigned char)count, (unsigned char)count, 0, INITIALIZED};
    not_fenced.push_back({current->thread, (Mbarrier*)place});
}

void mbarrier_fence() {
    for (NotFenced& each : not_fenced)
        if (each.thread == current->thread) each.mbarrier->state = VISIBLE;
}

void mbarrier_expect(void* place, unsigned bytes) {
    Mbarrier* const mbarrier = mbarrier_at(place);
    if (!mbarrier->arrivals) fail("more arrivals at an mbarrier than it was initialized for");
    mbarrier->bytes += (int)bytes, --mbarrier->arrivals;
    end_phase_if_complete(mbarrier);
}

void mbarrier_wait(void* place, unsigned parity) {
    const Mbarrier* const mbarrier = mbarrier_at(place);
    if (mbarrier->parity == parity) at_mbarrier.push_back({current->thread, mbarrier, parity});
    else ready.push_back(current->thread);
    wait();
}

void store_async(void* place, unsigned rank, const void* value, size_t bytes, void* mbarrier) {
    if (rank >= blocks.size()) fail("a store into block %d of a cluster of %d", (int)rank, (int)blocks.size());
    unsigned char *const mine = dynamic_memory(block()), *const other = dynamic_memory(blocks[rank]);
    const ptrdiff_t at = (unsigned char*)place - mine, flag = (unsigned char*)mbarrier - mine;
    if (at < 0 || at + bytes > dynamic_bytes || flag < 0 || flag + sizeof(Mbarrier) > dynamic_bytes || at % bytes)
        fail("an asynchronous store to byte %d of dynamic shared memory", (int)at);
    Store store = {other + at, {}, bytes, mbarrier_at(other + flag), (int)rank};
    if (store.mbarrier->state != VISIBLE) fail("no fence makes the mbarrier visible to the cluster");
    memcpy(store.value, value, bytes);
    stores.push_back(store);
}

void copy_async(void* to, const void* from, size_t bytes) {
    if ((uintptr_t)to % bytes || (uintptr_t)from % bytes) fail("an asynchronous copy that is not aligned");
    if (draw() % 4 == 0) memcpy(to, from, bytes);
    else copies.push_back({current->thread, to, from, bytes});
}

void copy_async_wait() {
    for (size_t i = 0; i < copies.size();) {
        if (copies[i].thread != current->thread) {
            ++i;
            continue;
        }
        memcpy(copies[i].to, copies[i].from, copies[i].bytes);
        copies[i] = copies.back(), copies.pop_back();
    }
}

void grid_fence() {
    const int own = current->thread / threads;
    for (size_t i = 0; i < published.size();) {
        const Published& store = published[i];
        const bool before = store.thread == current->thread || store.barrier_phase < block().barrier_phase;
        if (store.block == own && before) complete_published(i);
        else ++i;
    }
    const auto end = cached.lower_bound({own + 1, nullptr});
    for (auto each = cached.lower_bound({own, nullptr}); each != end;) {
        if (draw() % 2) memcpy(each->second.data(), each->first.second, 16), ++each;
        else each = cached.erase(each);
    }
}

void arrive(unsigned long long* counter) {
    ++*counter;
    for (size_t i = 0; i < at_count.size();) {
        if (at_count[i].counter != counter || *counter < at_count[i].count) {
            ++i;
            continue;
        }
        ready.push_back(at_count[i].thread);
        at_count[i] = at_count.back(), at_count.pop_back();
    }
}

void wait_for_count(const unsigned long long* counter, unsigned long long count) {
    if (blocks.size() != (size_t)grid_size.x * grid_size.y * grid_size.z)
        fail("a block waits for others in a launch that is not cooperative");
    if (*counter < count) at_count.push_back({current->thread, counter, count});
    else ready.push_back(current->thread);
    wait();
}

void publish(void* place, const void* value, size_t bytes) {
    published.push_back({(unsigned char*)place, {}, bytes, current->thread / threads, current->thread,
                         block().barrier_phase});
    memcpy(published.back().value, value, bytes);
}

void collect(const void* place, void* result) {
    if ((uintptr_t)place % 16) fail("a load of 16 bytes that is not aligned");
    const auto found = cached.try_emplace({current->thread / threads, (const unsigned char*)place});
    if (found.second) memcpy(found.first->second.data(), place, 16);
    memcpy(result, found.first->second.data(), 16);
}

void fail_unless(int condition) {
    if (!condition) fail("trap");
}

void* shared(const void* key, size_t bytes) {
    Block& b = block();
    for (const Variable& v : b.variables)
        if (v.key == key) return b.arena + v.offset;
    size_t total = bytes;
    for (const Variable& v : b.variables) total += v.key == &dynamic_key ? 0 : v.bytes;
    if (key != &dynamic_key && total > STATIC_LIMIT) fail("%d bytes of static shared memory, at most 49152", (int)total);
    const size_t offset = (b.arena_end + GUARD + 127) / 128 * 128;
    b.arena_end = offset + bytes + GUARD;
    if (b.arena_end > ARENA) fail("%d bytes of shared memory", (int)b.arena_end);
    memset(b.arena + offset - GUARD, GUARD_BYTE, GUARD);
    memset(b.arena + offset, 0xFF, bytes);
    memset(b.arena + offset + bytes, GUARD_BYTE, GUARD);
    b.variables.push_back({key, offset, bytes});
    return b.arena + offset;
}

int launch(void (*kernel)(void**), void** kernel_arguments, const Launch* launch) {
    body = kernel, arguments = kernel_arguments, how = launch;
    grid_size = launch->grid, block_size = launch->block, dynamic_bytes = launch->dynamic_shared;
    threads = block_size.x * block_size.y * block_size.z;
    random_state = launch->seed * 0x9E3779B97F4A7C15ull | 1;
    std::vector<unsigned> clusters((size_t)grid_size.x * grid_size.y * grid_size.z / launch->cluster);
    for (size_t i = 0; i < clusters.size(); ++i) {
        const size_t other = draw_below(i + 1);
        clusters[i] = clusters[other], clusters[other] = i;
    }
    struct sigaction action = {}, old[5];
    action.sa_handler = on_signal, action.sa_flags = SA_NODEFER;
    const int signals[5] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; ++i) sigaction(signals[i], &action, &old[i]);
    bool good = true;
    for (size_t i = 0; good && i < clusters.size(); ++i) good = run_cluster(clusters[i] * launch->cluster);
    if (!good) drop_fibers();  // some have not come to the end of their thread
    for (int i = 0; i < 5; ++i) sigaction(signals[i], &old[i], nullptr);
    return !good;
}
}  // namespace shim
