import sysconfig
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent


def has_python_h() -> bool:
    paths = sysconfig.get_paths()
    return any(Path(paths[name], "Python.h").exists() for name in ("include", "platinclude"))


setup(
    py_modules=[],  # what lies beside it is the suite
    ext_modules=[
        Extension(
            "crashy",
            sources=["crashy.c"],
            include_dirs=[] if has_python_h() else ["stand_in"],
            # An optimiser may leave undefined behaviour out: no crash.
            extra_compile_args=["-O0", "-fno-lto", "-U_FORTIFY_SOURCE"],
            extra_link_args=["-fno-lto"],
        )
    ],
)
