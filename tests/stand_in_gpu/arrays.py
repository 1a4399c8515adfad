"""`ndarray`, and the functions of the module `cupy`: computed by NumPy, when the queue of their stream runs."""

from __future__ import annotations

import builtins
import math
import weakref
from types import SimpleNamespace

import numpy as np
import scipy.special

from stand_in_gpu.machine import CUDARuntimeError, Device, Owner, machine

functions = {}
"""Those of the module `cupy`, by name."""


def function(f):
    functions[f.__name__.strip("_")] = f
    return f


# -- creation and execution -----------------------------------------------------------------------------------


def _wrap(host, owner, viewed=None):
    """An array; `viewed` is the one that it is a view of."""
    array = object.__new__(ndarray)
    array._host, array._owner = host, owner
    array.base = viewed if viewed is None or viewed.base is None else viewed.base
    return array


def _new(shape, dtype, order="C"):
    shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {dtype}")
    owner = Owner(math.prod(shape) * dtype.itemsize)
    space = np.empty(0, np.uint8) if owner.memory is None else owner.memory.bytes
    return _wrap(np.ndarray(shape, dtype, space, order=order), owner)


def _compute(f, arguments, out):
    """Queue ``out[...] = f(*arguments)``."""
    for x in (*arguments, out):
        if isinstance(x, ndarray):
            x._check_device()
    hosts, target = [x._host if isinstance(x, ndarray) else x for x in arguments], out._host
    machine.queue.add(lambda: np.copyto(target, f(*hosts), casting="unsafe"))
    return out


def _check_operands(*operands):
    for x in operands:
        if not isinstance(x, ndarray | bool | int | float | complex | np.generic):
            raise TypeError(f"Unsupported type {type(x)}")


def _owner(host):
    """The array that has the memory of a host array."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def _is_pinned(host):
    while isinstance(host, np.ndarray):
        if id(host) in machine.pinned:
            return True
        host = host.base
    return False


# -- the array ------------------------------------------------------------------------------------------------


class ndarray:
    """As `cupy.ndarray`."""

    __array_priority__ = 100

    def __init__(self, shape, dtype=float, order="C"):
        new = _new(shape, dtype, order)
        self._host, self._owner, self.base = new._host, new._owner, None

    def _check_device(self):
        if self._owner.device != machine.device:
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {self._owner.device} while current = {machine.device}"
            )

    # -- attributes

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: _wrap(self._host.T, self._owner, self))

    @property
    def flags(self):
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def device(self):
        return Device(self._owner.device)

    @property
    def data(self):
        ptr = 0 if self._owner.memory is None else self._host.__array_interface__["data"][0]
        return SimpleNamespace(ptr=ptr, device=self.device, device_id=self._owner.device)

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "strides": None if self.flags.c_contiguous else self.strides,
            "data": (self.data.ptr, False),
            "version": 3,
            "stream": 1,
        }

    # -- copies to and from the host

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        with self.device:
            queue = machine.queue if stream is None else stream._queue
            if out is None:
                out = np.empty(self.shape, self.dtype, order)
                if out.size:  # what is read before the copy has run is NaN
                    out.reshape(-1, order="A").view(np.uint8).fill(0xFF)
            elif not isinstance(out, np.ndarray):
                raise TypeError(f"Only numpy.ndarray can be obtained from cupy.ndarray, not {type(out)}")
            elif out.dtype != self.dtype or out.shape != self.shape:
                raise ValueError(f"{out.dtype} {out.shape} cannot receive an array of {self.dtype} {self.shape}")
            host = self._host
            machine.counters.copies_to_host += 1
            queue.add(lambda: np.copyto(out, host))
            if blocking:
                queue.synchronize()
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        with self.device:
            queue = machine.queue if stream is None else stream._queue
            arr = np.asarray(arr, order="C" if self.flags.c_contiguous else "F")
            pinned, host, shown = _is_pinned(arr), self._host, arr.__array_interface__
            machine.counters.copies_to_device += 1
            machine.counters.pageable_copies += not pinned
            owner = weakref.ref(_owner(arr))

            def copy():
                # a device that reads the host's memory by itself does so when the copy runs
                if owner() is None:
                    raise CUDARuntimeError(f"a copy reads {host.nbytes} bytes of the host that were freed")
                np.copyto(host, np.asarray(SimpleNamespace(__array_interface__=shown)))

            queue.add(copy)

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __index__(self):
        return self.get().__index__()

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, specification):
        return format(self.get(), specification)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    __hash__ = None

    # -- views and copies

    def __getitem__(self, key):
        if isinstance(key, ndarray) and key.dtype == bool:
            # the shape of the result depends on the values, so the host must have them
            mask = key.get()
            shape = np.broadcast_to(np.empty((), bool), self.shape)[mask].shape
            return _compute(lambda x: x[mask], [self], _new(shape, self.dtype))
        if isinstance(key, ndarray):
            return functions["take"](self, key, axis=0)
        return _wrap(self._view(key), self._owner, self)

    def _view(self, key):
        for k in key if isinstance(key, tuple) else (key,):
            if not (k is None or k is Ellipsis or isinstance(k, slice | int | np.integer)) or isinstance(k, bool):
                raise TypeError(f"the stand-in has no index of type {type(k).__name__} in {key!r:.80}")
        view = self._host[key]
        if isinstance(view, np.ndarray):
            return view
        return self._host[(*(key if isinstance(key, tuple) else (key,)), ...)]  # of no dimensions, but not a copy

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        _check_operands(value)
        if isinstance(key, ndarray):
            self._check_device()
            key._check_device()
            target, index = self._host, key._host
            if isinstance(value, ndarray):
                value._check_device()
            source = value._host if isinstance(value, ndarray) else value
            machine.queue.add(lambda: target.__setitem__(index, source))
            return
        view = _wrap(self._view(key), self._owner, self)
        if isinstance(value, ndarray):
            if np.broadcast_shapes(view.shape, value.shape) != view.shape:
                raise ValueError(f"could not broadcast input array from shape {value.shape} into shape {view.shape}")
            _compute(lambda x: x, [value], view)
        else:
            np.empty(0, self.dtype)[...] = value
            _compute(lambda: value, [], view)

    def reshape(self, *shape, order="C"):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        result = self._host.reshape(shape, order=order)
        if np.may_share_memory(result, self._host) or not self.size:
            return _wrap(result, self._owner, self)
        new = result.shape
        return _compute(lambda x: x.reshape(new, order=order), [self], _new(new, self.dtype, order))

    def ravel(self, order="C"):
        return self.reshape(-1, order=order)

    def transpose(self, *axes):
        return _wrap(self._host.transpose(*axes), self._owner, self)

    def squeeze(self, axis=None):
        return _wrap(self._host.squeeze(axis), self._owner, self)

    def view(self, dtype=None):
        return _wrap(self._host.view(dtype or self.dtype), self._owner, self)

    def copy(self, order="C"):
        return _compute(lambda x: x, [self], _new(self.shape, self.dtype, "F" if order == "F" else "C"))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return _compute(lambda x: x, [self], _new(self.shape, dtype))

    # -- in place

    def fill(self, value):
        self[...] = value

    def sort(self, axis=-1, kind=None):
        _compute(lambda x: np.sort(x, axis, "stable"), [self], self)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or ufunc.__name__ not in functions:
            return NotImplemented
        return functions[ufunc.__name__](*inputs, **options)

    def __array_function__(self, function, types, arguments, options):
        if function.__name__ not in functions:
            return NotImplemented
        return functions[function.__name__](*arguments, **options)


def _add_operator(name, ufunc, in_place):
    def operator(self, other):
        return functions[ufunc](self, other)

    def reflected(self, other):
        return functions[ufunc](other, self)

    def augmented(self, other):
        return functions[ufunc](self, other, out=self)

    setattr(ndarray, f"__{name}__", operator)
    if in_place:
        setattr(ndarray, f"__r{name}__", reflected)
        setattr(ndarray, f"__i{name}__", augmented)


OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul",
}  # fmt: skip
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
for _name, _ufunc in OPERATORS.items():
    _add_operator(_name, _ufunc, in_place=True)
for _name, _ufunc in COMPARISONS.items():
    _add_operator(_name, _ufunc, in_place=False)
ndarray.__neg__ = lambda self: functions["negative"](self)
ndarray.__pos__ = lambda self: self.copy()
ndarray.__abs__ = lambda self: functions["abs"](self)
ndarray.__invert__ = lambda self: functions["invert"](self)


# -- functions of each entry ----------------------------------------------------------------------------------


def _elementwise(f, name):
    def ufunc(*arguments, out=None, dtype=None, casting="same_kind"):
        _check_operands(*arguments)
        (out,) = out if isinstance(out, tuple) else (out,)
        samples = [np.ones(0, x.dtype) if isinstance(x, ndarray) else x for x in arguments]
        found = np.dtype(dtype) if dtype is not None else np.asarray(f(*samples)).dtype
        shape = np.broadcast_shapes(*(x.shape for x in arguments if isinstance(x, ndarray)))
        if out is None:
            out = _new(shape, found)
        elif not isinstance(out, ndarray):
            raise TypeError(f"return arrays must be cupy.ndarray, not {type(out)}")
        elif np.broadcast_shapes(shape, out.shape) != out.shape:
            raise ValueError(f"non-broadcastable output operand with shape {out.shape} for {shape}")
        elif not np.can_cast(found, out.dtype, casting):
            raise TypeError(f"output (typecode '{found.char}') could not be coerced to '{out.dtype.char}'")
        # with a dtype, CuPy computes in it
        compute = f if dtype is None else lambda *hosts: f(*(np.asarray(x, dtype) for x in hosts))
        return _compute(compute, arguments, out)

    ufunc.__name__ = name
    return ufunc


ELEMENTWISE = (
    "abs absolute add bitwise_and bitwise_or bitwise_xor cos divide equal exp expm1 floor floor_divide greater "
    "greater_equal invert isfinite isinf isnan left_shift less less_equal log log1p logical_and logical_not logical_or "
    "maximum minimum multiply negative not_equal power remainder right_shift sign sin sqrt square subtract tanh "
    "true_divide where"
)
functions.update({name: _elementwise(getattr(np, name), name) for name in ELEMENTWISE.split()})
erfc = _elementwise(scipy.special.erfc, "erfc")


# -- reductions -----------------------------------------------------------------------------------------------


def _reduction(name, has_dtype, has_identity):
    f = getattr(np, name)

    def reduce(a, axis=None, dtype=None, out=None, keepdims=False):
        if not isinstance(a, ndarray):
            raise TypeError(f"{name} of a {type(a)}, which is no device array")
        axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = {np.lib.array_utils.normalize_axis_index(i, a.ndim) for i in axes}
        if not has_identity and not builtins.all(a.shape[i] for i in axes):
            raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
        options = {} if dtype is None else {"dtype": dtype}
        if out is None:
            shape = [1 if i in axes else n for i, n in enumerate(a.shape) if keepdims or i not in axes]
            out = _new(shape, f(np.ones(1, a.dtype), **options).dtype)
        return _compute(lambda x: f(x, axis=axis, keepdims=keepdims, **options), [a], out)

    def reduce_without_dtype(a, axis=None, out=None, keepdims=False):
        return reduce(a, axis, None, out, keepdims)

    functions[name] = reduce if has_dtype else reduce_without_dtype
    setattr(ndarray, name, functions[name])


for _name in ("sum", "mean"):
    _reduction(_name, has_dtype=True, has_identity=True)
for _name in ("any", "all"):
    _reduction(_name, has_dtype=False, has_identity=True)
for _name in ("max", "min"):
    _reduction(_name, has_dtype=False, has_identity=False)
functions.update(amax=functions["max"], amin=functions["min"])


# -- other functions ------------------------------------------------------------------------------------------


@function
def asarray(a, dtype=None, order=None):
    if isinstance(a, ndarray):
        a._check_device()
        return a if dtype is None else a.astype(dtype, copy=False)
    host = np.array(a, dtype)
    result = _new(host.shape, host.dtype, "F" if order == "F" else "C")
    machine.counters.copies_to_device += 1
    machine.counters.staged_bytes += host.nbytes
    return _compute(lambda: host, [], result)


@function
def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else a.copy()


@function
def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


@function
def empty(shape, dtype=float, order="C"):
    return _new(shape, dtype, order)


@function
def full(shape, fill_value, dtype=None, order="C"):
    result = _new(shape, np.asarray(fill_value).dtype if dtype is None else dtype, order)
    result[...] = fill_value
    return result


@function
def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype, order)


@function
def ones(shape, dtype=float, order="C"):
    return full(shape, 1, dtype, order)


@function
def arange(start, stop=None, step=1, dtype=None):
    host = np.arange(start, stop, step, dtype) if stop is not None else np.arange(start, dtype=dtype)
    return _compute(lambda: host, [], _new(host.shape, host.dtype))


@function
def matmul(a, b, /, out=None):
    (out,) = out if isinstance(out, tuple) else (out,)
    for x in (a, b):
        if not isinstance(x, ndarray):
            raise TypeError(f"Unsupported type {type(x)}")
    if not 1 <= a.ndim <= 2 or not 1 <= b.ndim <= 2 or a.shape[-1] != b.shape[0]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit, or are not supported")
    dtype, shape = np.result_type(a.dtype, b.dtype), a.shape[:-1] + b.shape[1:]
    if out is None:
        out = _new(shape, dtype)
    elif not isinstance(out, ndarray) or out.shape != shape or not np.can_cast(dtype, out.dtype, "same_kind"):
        raise ValueError(f"matmul: out must be a device array of shape {shape}")
    return _compute(np.matmul, [a, b], out)


@function
def take(a, indices, axis=None, out=None):
    indices = asarray(indices)
    if axis not in (None, 0):
        raise NotImplementedError("the stand-in takes rows only")
    source = a.ravel() if axis is None else a
    shape = indices.shape + source.shape[1:]
    if out is None:
        out = _new(shape, a.dtype)
    elif out.shape != shape or out.dtype != a.dtype:
        raise ValueError(f"take: out must have shape {shape} and dtype {a.dtype}")
    # row numbers outside the array wrap around, as in CuPy
    return _compute(lambda x, rows: x.take(rows, 0, mode="wrap"), [source, indices], out)


@function
def concatenate(tup, axis=0):
    arrays = list(tup)
    for x in arrays:
        if not isinstance(x, ndarray):
            raise TypeError("Only cupy arrays can be concatenated")
    like = np.concatenate([np.broadcast_to(np.zeros((), x.dtype), x.shape) for x in arrays], axis)
    return _compute(lambda *hosts: np.concatenate(hosts, axis), arrays, _new(like.shape, like.dtype))


@function
def ndim(a):
    return a.ndim


@function
def shape(a):
    return a.shape


@function
def size(a):
    return a.size


@function
def shares_memory(a, b, max_work=None):
    return np.shares_memory(a._host, b._host, max_work)


def empty_pinned(shape, dtype=float, order="C"):
    """As `cupyx.empty_pinned`: a host array that asynchronous copies read or write when they run, and not before."""
    result = np.empty(shape, dtype, order)
    if result.size:
        result.reshape(-1, order="A").view(np.uint8).fill(0xFF)
    machine.pinned[id(result)] = result
    return result
