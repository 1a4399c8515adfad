"""`Driver`: the functions of the driver's library that the product calls through ctypes."""

from __future__ import annotations

import ctypes

from stand_in_gpu.machine import machine

SUCCESS, INVALID_VALUE = 0, 1
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
CONFIG = ("gridDimX", "gridDimY", "gridDimZ", "blockDimX", "blockDimY", "blockDimZ", "sharedMemBytes")


class Driver:
    """A device has clusters of as many blocks as `machine.most_blocks` says."""

    def cuFuncSetAttribute(self, function, attribute, value):
        if attribute.value != NON_PORTABLE_CLUSTER_SIZE_ALLOWED or value.value not in (0, 1) or not function.value:
            return INVALID_VALUE
        if machine.most_blocks <= 8:
            return INVALID_VALUE
        (machine.large_clusters.add if value.value else machine.large_clusters.discard)(function.value)
        return SUCCESS

    def cuOccupancyMaxActiveClusters(self, count, function, config):
        found = {name: getattr(config._obj, name) for name in CONFIG}
        if function.value not in machine.large_clusters or not all(found[name] for name in CONFIG[:6]):
            return INVALID_VALUE
        fits = found["sharedMemBytes"] <= machine.attributes["MaxSharedMemoryPerBlockOptin"]
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = machine.attributes["MultiProcessorCount"] // 16 * fits
        return SUCCESS
