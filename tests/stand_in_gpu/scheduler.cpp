// CUDA's threads on a CPU.  Blocks run one after the other in random order.  The threads of a block are fibers: one runs
// until it waits for others, and then a random one is next, so no kernel may rely on an order.  Now and then a thread,
// or a warp, is held back for as long as the others can go on: random order alone seldom makes one thread late enough
// for a missing barrier to be noticed.
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#define SHIM_SCHEDULER
#include "shim.h"

namespace shim {

Index thread_index, block_index, block_size, grid_size;
const char dynamic_key = 0;
size_t dynamic_bytes;

namespace {

constexpr size_t STACK = 256 << 10, GUARD = 64, MOST_THREADS = 1024;
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
};
struct Variable {
    const void* key;
    size_t offset, bytes;
};

const Launch* how;
void (*body)(void**);
void** arguments;
jmp_buf home;  // of `run_block`
int threads, ended;
uint64_t random_state;

Fiber* current;
Fiber* waiting_fiber[MOST_THREADS];  // null if the thread has not begun
std::vector<Fiber*> fibers, idle;    // all; those that have run a thread to its end
std::vector<int> ready, held;        // threads that can go on; those of them that are held back
int held_first, held_end, patience;
bool newest_first;

std::vector<int> at_barrier;
int barrier_line, votes[2];
unsigned barrier_phase;
std::vector<Exchange> exchanges[MOST_THREADS / 32];

std::vector<Variable> variables;
alignas(128) unsigned char arena[SHARED_LIMIT + (64 << 10)];
size_t arena_end;

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

int choose() {
    if (patience-- <= 0) {
        ready.insert(ready.end(), held.begin(), held.end());
        held.clear();
        held_first = draw_below(threads), held_end = held_first + 1;
        if (draw() % 2) held_first = held_first / 32 * 32, held_end = held_first + 32;
        newest_first = draw() % 2, patience = draw_below(4 * threads);
    }
    for (;;) {
        while (!ready.empty()) {
            const size_t at = newest_first ? ready.size() - 1 : draw_below(ready.size());
            const int thread = ready[at];
            ready[at] = ready.back(), ready.pop_back();
            if (thread < held_first || thread >= held_end) return thread;
            held.push_back(thread);
        }
        if (held.empty()) return -1;
        ready.swap(held);
        held_end = held_first;
    }
}

void run_threads();

[[noreturn]] void run_another() {
    const int thread = choose();
    if (thread < 0 && ended == threads) _longjmp(home, 1);
    if (thread < 0)
        fail("deadlock: of %d threads %d have ended, %d wait at the barrier on line %d, and the others wait for lanes of "
             "their warp", threads, ended, (int)at_barrier.size(), barrier_line);
    thread_index.x = thread % block_size.x;
    thread_index.y = thread / block_size.x % block_size.y;
    thread_index.z = thread / block_size.x / block_size.y;
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
        ++ended;
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

// Returns whether it ended without an error; `fail` comes back here.
bool run_block(unsigned number) {
    block_index = {number % grid_size.x, number / grid_size.x % grid_size.y, number / grid_size.x / grid_size.y};
    ended = 0, barrier_phase = 0, patience = 0, arena_end = 0;
    variables.clear(), at_barrier.clear(), held.clear(), ready.resize(threads);
    for (int i = 0; i < threads; ++i) ready[i] = i, waiting_fiber[i] = nullptr;
    for (int warp = 0; warp * 32 < threads; ++warp) exchanges[warp].clear();
    const int reason = _setjmp(home);
    if (!reason) run_another();
    if (reason == 2) return false;
    for (const Variable& v : variables)
        for (size_t i = 0; i < GUARD; ++i)
            if (arena[v.offset - 1 - i] != GUARD_BYTE || arena[v.offset + v.bytes + i] != GUARD_BYTE)
                fail("a write outside a shared variable of %d bytes", (int)v.bytes);
    return true;
}

void on_signal(int number) {
    if (number == SIGILL || number == SIGTRAP) fail("an access to an address that is not a multiple of the type's alignment");
    fail("an address outside memory, or an integer division by zero: signal %d", number);
}

// Waits for the lanes of the mask; returns what they exchange, and whether it is its first or second half.
Exchange& meet_lanes(unsigned mask, const void* mine, int vote, unsigned& side, int line) {
    const int warp = current->thread / 32, lane = current->thread % 32, lanes = threads - warp * 32;
    if (!(mask >> lane & 1)) fail("line %d: lane %d is not in its own mask %08x", line, lane, mask);
    if (lanes < 32 && mask >> lanes) fail("line %d: the mask %08x has lanes that a warp of %d lacks", line, mask, lanes);
    size_t at = 0;
    std::vector<Exchange>& all = exchanges[warp];
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
    e->votes[side] |= (unsigned)(vote != 0) << lane;
    e->arrived |= 1u << lane;
    if (e->arrived == mask) {
        e->arrived = 0, ++e->phase;
        for (int other = 0; other < 32; ++other)
            if (mask >> other & 1) ready.push_back(warp * 32 + other);
    }
    wait();
    return exchanges[warp][at];
}
}  // namespace

int barrier(int vote, int line) {
    if (ended) fail("line %d: a barrier after %d threads of the block have ended", line, ended);
    const unsigned side = barrier_phase & 1;
    if (at_barrier.empty()) barrier_line = line, votes[side] = 0;
    else if (line != barrier_line) fail("threads of a block wait at the barriers on the lines %d and %d", barrier_line, line);
    votes[side] += vote != 0;
    at_barrier.push_back(current->thread);
    if ((int)at_barrier.size() == threads) {
        ++barrier_phase;
        ready.insert(ready.end(), at_barrier.begin(), at_barrier.end());
        at_barrier.clear();
    }
    wait();
    return votes[side];
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

void* shared(const void* key, size_t bytes) {
    for (const Variable& v : variables)
        if (v.key == key) return arena + v.offset;
    size_t total = bytes;
    for (const Variable& v : variables) total += v.key == &dynamic_key ? 0 : v.bytes;
    if (key != &dynamic_key && total > STATIC_LIMIT) fail("%d bytes of static shared memory, at most 49152", (int)total);
    const size_t offset = (arena_end + GUARD + 127) / 128 * 128;
    arena_end = offset + bytes + GUARD;
    if (arena_end > sizeof arena) fail("%d bytes of shared memory", (int)arena_end);
    memset(arena + offset - GUARD, GUARD_BYTE, GUARD);
    memset(arena + offset, 0xFF, bytes);
    memset(arena + offset + bytes, GUARD_BYTE, GUARD);
    variables.push_back({key, offset, bytes});
    return arena + offset;
}

int launch(void (*kernel)(void**), void** kernel_arguments, const Launch* launch) {
    body = kernel, arguments = kernel_arguments, how = launch;
    grid_size = launch->grid, block_size = launch->block, dynamic_bytes = launch->dynamic_shared;
    threads = block_size.x * block_size.y * block_size.z;
    random_state = launch->seed * 0x9E3779B97F4A7C15ull | 1;
    std::vector<unsigned> blocks((size_t)grid_size.x * grid_size.y * grid_size.z);
    for (size_t i = 0; i < blocks.size(); ++i) {
        const size_t other = draw_below(i + 1);
        blocks[i] = blocks[other], blocks[other] = i;
    }
    struct sigaction action = {}, old[5];
    action.sa_handler = on_signal, action.sa_flags = SA_NODEFER;
    const int signals[5] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; ++i) sigaction(signals[i], &action, &old[i]);
    bool good = true;
    for (size_t i = 0; good && i < blocks.size(); ++i) good = run_block(blocks[i]);
    if (!good) drop_fibers();  // some have not come to the end of their thread
    for (int i = 0; i < 5; ++i) sigaction(signals[i], &old[i], nullptr);
    return !good;
}
}  // namespace shim
