"""Compiles CUDA C++ for a GPU that need not exist: NVRTC, the compiler that CuPy uses, runs without a driver."""

from __future__ import annotations

import re
from dataclasses import dataclass

OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
"""Those that CuPy adds, and a report of the resources."""


@dataclass(frozen=True)
class Resources:
    """What the kernels of a module need: the largest number of each.

    Attributes
    ----------
    registers : int
        Of a thread.
    spilled : int
        Bytes of registers that did not fit.
    shared : int
        Bytes of static shared memory of a block.
    kernels : int
        How many kernels there are.
    """

    registers: int
    spilled: int
    shared: int
    kernels: int


def compile_for(architecture: str, source: str) -> Resources:
    """Compile to machine code, and return what its compiler reports.

    Raises
    ------
    RuntimeError
        With the messages of the compiler.
    """
    from cuda.bindings import nvrtc

    options = [option.encode() for option in (f"-arch={architecture}", *OPTIONS)]
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernels.cu", 0, [], [])
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    text = b" " * size
    nvrtc.nvrtcGetProgramLog(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    log = text.decode(errors="replace")
    if int(status):
        raise RuntimeError(log.strip("\0 \n"))

    def largest(pattern: str) -> int:
        return max(map(int, re.findall(pattern, log)), default=0)

    spilled = largest(r"(\d+) bytes spill stores") + largest(r"(\d+) bytes spill loads")
    return Resources(
        largest(r"Used (\d+) registers"),
        spilled + largest(r"(\d+) bytes stack frame"),
        largest(r"(\d+) bytes smem"),
        len(re.findall(r"Used \d+ registers", log)),
    )
