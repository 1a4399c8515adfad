"""The state of the stand-in: devices, memory, streams, events and graphs.

Work is queued by stream, and runs when the host waits for it, or before, at random moments.  So work that does not wait
for what it needs uses old values or NaN, and not what happens to be there.
"""

from __future__ import annotations

import bisect
import random
import threading
import weakref
from collections import deque
from dataclasses import dataclass, fields

import numpy as np

ALIGNMENT, GUARD = 512, 256  # bytes
FRESH, FREED, GUARD_BYTE = 0xFF, 0xFB, 0xA5  # 0xFF and 0xFB are NaN or nearly -1e287 in a float64, -1e36 in a float32
FILLED = 1 << 20  # bytes at each end of an allocation
LONGEST_QUEUE = 512


class CUDARuntimeError(RuntimeError):
    """What the CUDA runtime would refuse, or what it would not notice and this machine does."""


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""

    def __init__(self, size, total, limit=0):
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited}).")


@dataclass
class Counters:
    """What has been done since the last `reset`."""

    launches: int = 0
    graph_launches: int = 0
    products: int = 0
    synchronizations: int = 0
    allocations: int = 0
    copies_to_device: int = 0
    pageable_copies: int = 0  # those of them for which CUDA may wait for the stream
    staged_bytes: int = 0  # of `asarray`, which copies them to pinned memory first; CuPy's pool keeps that memory
    copies_to_host: int = 0

    def reset(self):
        for field in fields(self):
            setattr(self, field.name, 0)


class Memory:
    """One allocation: `size` bytes at the address `ptr`, between guard bytes."""

    def __init__(self, device, size, queue):
        self.device, self.size, self.queue = device, size, queue
        self.freed = False  # by its owner
        self._space = np.empty(size + 2 * GUARD + ALIGNMENT, np.uint8)
        start = GUARD + -(self._space.ctypes.data + GUARD) % ALIGNMENT
        self._guards = self._space[start - GUARD : start], self._space[start + size : start + size + GUARD]
        for guard in self._guards:
            guard[:] = GUARD_BYTE
        self.bytes = self._space[start : start + size]
        self._fill(FRESH)
        self.ptr = self.bytes.ctypes.data

    def _fill(self, value):
        # of large arrays only the ends, because cuBLAS gets 32 MiB for each training
        self.bytes[:FILLED] = value
        self.bytes[-FILLED:] = value

    def check(self):
        for guard in self._guards:
            if (guard != GUARD_BYTE).any():
                raise CUDARuntimeError(f"a write outside an allocation of {self.size} bytes on device {self.device}")

    def erase(self):
        """The memory is free, and what is in it is lost."""
        machine.forget(self)
        self._fill(FREED)
        self.check()


class Owner:
    """What the arrays of an allocation hold; the memory is freed with the last of them."""

    def __init__(self, size):
        self.device, self.memory = machine.device, None
        self.memory = machine.allocate(size)

    def __del__(self):
        if self.memory is not None:
            machine.free(self.memory)


class Queue:
    """The work of a stream that has not run yet."""

    def __init__(self, device):
        self.device, self.work, self.recorded = device, deque(), []

    def add(self, work):
        """Work that cannot be part of a graph, which is all but launches and products."""
        machine.refuse_while_capturing("an array operation or a copy")
        self._add(work)

    def launch(self, work, memories):
        """Work that a graph may contain; `memories` are the allocations that it uses."""
        if machine.capturing is self:
            self.recorded.append((work, memories))
            return
        machine.refuse_while_capturing("a launch on another stream")
        self._add(work)

    def _add(self, work):
        self.work.append(work)
        while len(self.work) > LONGEST_QUEUE:
            self.run_one()
        machine.run_some()

    def run_one(self):
        with machine.running, np.errstate(all="ignore"):
            if self.work:  # another thread may have run it in the meantime
                self.work.popleft()()

    def run_all(self):
        while self.work:
            self.run_one()

    def synchronize(self):
        machine.refuse_while_capturing("a host synchronization")
        machine.counters.synchronizations += 1
        self.run_all()

    def mark(self):
        mark = Mark(self)
        self.work.append(mark)
        return mark


class Mark:
    """A place in a queue that others can wait for."""

    def __init__(self, queue):
        self.queue, self.done = queue, False

    def __call__(self):
        self.done = True

    def reach(self):
        while not self.done:
            self.queue.run_one()


class Machine:
    """Two devices, and one host thread at a time."""

    def __init__(self):
        self.counters = Counters()
        self.running = threading.RLock()  # several host threads may wait for the device at once
        self.attributes = {
            "MultiProcessorCount": 132,
            "ClockRate": 1_980_000,  # in kHz, as of an H200
            "MemoryClockRate": 3_201_000,
            "GlobalMemoryBusWidth": 6144,
            "MaxSharedMemoryPerBlock": 48 << 10,
            "MaxSharedMemoryPerBlockOptin": 227 << 10,
            "MaxThreadsPerBlock": 1024,
            "WarpSize": 32,
        }
        self.set_defaults()
        self.reset()

    def set_defaults(self):
        """What a test may set: memory of the devices in bytes, options of every module, blocks of a cluster at most."""
        self.total, self.compile_options, self.most_blocks = [1 << 36, 1 << 36], (), 8

    def reset(self, seed=0):
        """Forget all work and memory; `seed` decides in what order work runs."""
        self.random = random.Random(seed)
        self.counters.reset()
        self.local = threading.local()
        self.memories, self.addresses = {}, []
        self.used = [0, 0]
        self.large_clusters = set()  # functions that may be launched in clusters of more than eight blocks
        self.null_queues = [Queue(0), Queue(1)]
        self.queues = list(self.null_queues)
        self.pinned = weakref.WeakValueDictionary()
        self.capturing = None  # the queue of the stream that captures
        self._eagerness, self._left = 0.0, 0

    # -- devices and streams ------------------------------------------------------------------------

    @property
    def device(self):
        return getattr(self.local, "device", 0)

    @device.setter
    def device(self, number):
        if number not in (0, 1):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.local.device = number

    @property
    def streams(self):
        """The current stream of each device, in this thread."""
        if not hasattr(self.local, "streams"):
            self.local.streams = [Stream.null, Stream.null]
        return self.local.streams

    @property
    def queue(self):
        """Of the current stream of the current device."""
        return self.streams[self.device]._queue

    def new_queue(self):
        queue = Queue(self.device)
        self.queues.append(queue)
        return queue

    def refuse_while_capturing(self, what):
        if self.capturing is not None:
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream captures")

    def run_some(self):
        """Run none, some or all of the queued work."""
        if self._left == 0:
            self._eagerness, self._left = self.random.choice((0.0, 0.3, 0.7, 1.0)), self.random.randrange(1, 200)
        self._left -= 1
        while self.random.random() < self._eagerness:
            busy = [queue for queue in self.queues if queue.work]
            if not busy:
                break
            self.random.choice(busy).run_one()

    # -- memory -------------------------------------------------------------------------------------

    def allocate(self, size):
        """Memory on the current device; the null pointer for no bytes."""
        self.refuse_while_capturing("an allocation")
        if size == 0:
            return None
        rounded, device = -(-size // ALIGNMENT) * ALIGNMENT, self.device
        if self.used[device] + rounded > self.total[device]:
            raise OutOfMemoryError(rounded, self.used[device])
        memory = Memory(device, size, self.queue)
        self.counters.allocations += 1
        self.used[device] += rounded
        self.memories[memory.ptr] = memory
        bisect.insort(self.addresses, memory.ptr)
        return memory

    def free(self, memory):
        """Called by the garbage collector; later work on the same stream may use the memory for something else."""
        memory.freed = True
        if self.memories.get(memory.ptr) is memory:
            self.used[memory.device] -= -(-memory.size // ALIGNMENT) * ALIGNMENT
            memory.queue.work.append(memory.erase)

    def forget(self, memory):
        if self.memories.pop(memory.ptr, None) is not None:
            self.addresses.remove(memory.ptr)

    def find(self, address, size=1):
        """The live allocation that contains these bytes."""
        at = bisect.bisect_right(self.addresses, address) - 1
        memory = self.memories[self.addresses[at]] if at >= 0 else None
        if memory is None or memory.freed or address + size > memory.ptr + memory.size:
            raise CUDARuntimeError(f"cudaErrorIllegalAddress: {size} bytes at {address:#x} are in no live allocation")
        return memory

    def require(self, memories):
        """Check, when work runs, that what it uses has not been erased."""
        for memory in memories:
            if self.memories.get(memory.ptr) is not memory:
                raise CUDARuntimeError(f"cudaErrorIllegalAddress: {memory.size} bytes that work still uses were freed")

    def check(self):
        """Run all work, and check the guard bytes of all memory."""
        while any(queue.work for queue in self.queues):
            for queue in self.queues:
                queue.run_all()
        for memory in list(self.memories.values()):
            memory.check()


machine = Machine()


class Device:
    """As `cupy.cuda.Device`."""

    def __init__(self, device=None):
        self.id = machine.device if device is None else int(device)
        if self.id not in (0, 1):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before = []

    def __enter__(self):
        self._before.append(machine.device)
        machine.device = self.id
        return self

    def __exit__(self, *error):
        machine.device = self._before.pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def use(self):
        machine.device = self.id

    def synchronize(self):
        machine.refuse_while_capturing("a host synchronization")
        machine.counters.synchronizations += 1
        for queue in machine.queues:
            if queue.device == self.id:
                queue.run_all()

    @property
    def compute_capability(self):
        return "90"

    @property
    def attributes(self):
        return dict(machine.attributes)

    @property
    def mem_info(self):
        return machine.total[self.id] - machine.used[self.id], machine.total[self.id]


class Stream:
    """As `cupy.cuda.Stream`, with ``non_blocking=True``."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not non_blocking:
            raise NotImplementedError("the stand-in has non-blocking streams and the null stream only")
        self._own = machine.new_queue()
        self.device_id = self._own.device
        self._before = []

    @property
    def _queue(self):
        return self._own

    @property
    def ptr(self):
        return id(self._own)

    def __eq__(self, other):
        return isinstance(other, Stream) and other.ptr == self.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        self._before.append(machine.streams[machine.device])
        return self.use()

    def __exit__(self, *error):
        machine.streams[machine.device if self._own is None else self.device_id] = self._before.pop()

    def use(self):
        if self._queue.device != machine.device:
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({machine.device})"
            )
        machine.streams[machine.device] = self
        return self

    @property
    def done(self):
        machine.run_some()
        return not self._queue.work

    def synchronize(self):
        self._queue.synchronize()

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        machine.refuse_while_capturing("waiting for an event")
        if event._mark is not None:
            self._queue.work.append(event._mark.reach)

    def begin_capture(self, mode=None):
        if self._own is None:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        machine.refuse_while_capturing("begin_capture")
        machine.capturing, self._own.recorded = self._own, []

    def end_capture(self):
        if not self.is_capturing():
            raise CUDARuntimeError("cudaErrorIllegalState: the stream does not capture")
        machine.capturing = None
        graph = object.__new__(Graph)
        graph._nodes = self._own.recorded
        graph._check()
        return graph

    def is_capturing(self):
        return machine.capturing is self._queue


class NullStream(Stream):
    """The default stream of the current device."""

    def __init__(self):
        self._own, self.device_id, self._before = None, -1, []

    @property
    def _queue(self):
        return machine.null_queues[machine.device]

    @property
    def ptr(self):
        return 0


Stream.null = NullStream()


def get_current_stream(device_id=-1):
    """As `cupy.cuda.get_current_stream`."""
    return machine.streams[machine.device if device_id == -1 else device_id]


class Event:
    """As `cupy.cuda.Event`."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._mark = None

    def record(self, stream=None):
        machine.refuse_while_capturing("recording an event")
        self._mark = (machine.queue if stream is None else stream._queue).mark()

    @property
    def done(self):
        machine.run_some()
        return self._mark is None or self._mark.done

    def synchronize(self):
        machine.refuse_while_capturing("a host synchronization")
        machine.counters.synchronizations += 1
        if self._mark is not None:
            self._mark.reach()


class Graph:
    """As `cupy.cuda.Graph`: what was recorded, with the addresses of arrays but without references to them."""

    def __init__(self):
        raise NotImplementedError("a graph comes from Stream.end_capture")

    def _check(self):
        for _, memories in self._nodes:
            for memory in memories:
                if memory.freed:
                    raise CUDARuntimeError(f"{memory.size} bytes that a graph uses were freed")

    def launch(self, stream=None):
        self._check()
        machine.refuse_while_capturing("launching a graph")
        queue = machine.queue if stream is None else stream._queue
        machine.counters.graph_launches += 1
        for work, _ in self._nodes:
            queue._add(work)

    def upload(self, stream=None):
        self._check()
