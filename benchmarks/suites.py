"""Public suites that parity.py runs: what to install, where the tests are, what is known of them."""

from __future__ import annotations

import dataclasses

PLAIN = ("-o", "addopts=")  # without the project's own: coverage, xdist, strictness


@dataclasses.dataclass(frozen=True)
class Suite:
    """One line of the table.

    :ivar packages: What pip installs beside pytest; the first one is what is tested.
    :ivar tests: Files, folders or nodeids.
    :ivar source: Run in its unpacked source archive; otherwise where it is installed.
    :ivar without: Files and folders taken out of the archive, so that the installed package is tested.
    :ivar options: Of all runs.
    :ivar flaky: Tests that two plain runs tell differently, with the reason; left out of all runs.
    :ivar leans: Why tests lean on what an earlier one has left behind, by pattern; that is found out.
    :ivar apart: Why tests cannot tell the same, by pattern; that is believed.
    """

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    source: bool = True
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    flaky: dict[str, str] = dataclasses.field(default_factory=dict)
    leans: dict[str, str] = dataclasses.field(default_factory=dict)
    apart: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the package."""
        return self.packages[0].partition("==")[0]


LEFT_FILE = (
    "what an earlier test left in a cycle of references is collected, and warned of, during it"
)

COLLECTED = "tells in which order a cycle of references is collected"

SUITES = [
    Suite(("markupsafe==3.0.4",), ("tests",), without=("src",)),
    Suite(("frozenlist==1.8.0",), ("tests",), without=("frozenlist",), options=PLAIN),
    Suite(("simplejson==4.3.0",), ("simplejson",), source=False),
    Suite(("toolz==1.0.0",), ("toolz",), source=False),
    Suite(("pluggy==1.7.0",), ("testing",), without=("src",)),
    Suite(
        ("werkzeug==3.1.9", "ephemeral-port-reserve", "watchdog", "cryptography", "pytest-timeout"),
        ("tests/sansio", "tests/middleware", "tests/test_local.py", "tests/test_formparser.py"),
        without=("src",),
    ),
    Suite(
        ("zope.interface==8.7", "zope.testing", "zope.event"),
        ("zope/interface/tests/test_ro.py", "zope/interface/tests/test_odd_declarations.py"),
        source=False,
        apart={
            "*::Test_c3_ro::test_*": "it logs a dict that pprint has put in the order of addresses",
        },
    ),
    Suite(
        ("wrapt==2.5.2",),
        (
            "tests/core/test_decorators.py",
            "tests/core/test_adapter.py",
            "tests/core/test_pickle.py",
            "tests/core/test_post_import_hooks.py",
            "tests/core/test_synchronized_lock.py",
            "tests/core/test_weak_function_proxy.py",
        ),
        without=("src",),
    ),
    Suite(
        ("zstandard==0.25.0", "hypothesis"),
        (
            "tests/test_train_dictionary.py",
            "tests/test_compressor_compress.py",
            "tests/test_decompressor_stream_reader.py",
            "tests/test_open.py",
            "tests/test_buffer_util.py",
        ),
        without=("zstandard",),
        apart={
            "*::test_optimize": "it tells its progress by the CPU time of its process,"
            " which begins at 0 in a child",
        },
    ),
    Suite(
        ("cffi==2.1.1", "pycparser", "setuptools"),
        ("testing/cffi0/test_ctypes.py",),
        without=("src",),
        leans={"*::test_ffi_buffer_*": LEFT_FILE},
    ),
    Suite(
        ("lxml==6.1.3",),
        (
            "src/lxml/tests/test_sax.py",
            "src/lxml/tests/test_threading.py",
            "src/lxml/tests/test_elementpath.py",
            "src/lxml/tests/test_xmlschema.py",
        ),
        without=("src/lxml/__init__.py",),
    ),
    Suite(
        ("h5py", "numpy", "pytest-mpi"),
        ("h5py/tests/test_file.py", "h5py/tests/test_attrs.py"),
        source=False,
    ),
    Suite(
        ("trio==0.35.0", "trustme", "pyopenssl", "astor", "jedi", "async_generator"),
        (
            "trio/_core/_tests/test_run.py",
            "trio/_tests/test_channel.py",
            "trio/_tests/test_signals.py",
        ),
        source=False,
        options=("-p", "trio._tests.pytest_plugin"),
        flaky={
            "trio/_core/_tests/test_run.py::test_TrioToken_run_sync_soon_threaded_stress_test": (
                "prints how often a thread got its turn"
            ),
            "trio/_core/_tests/test_run.py::test_error_in_run_loop": COLLECTED,
            "trio/_core/_tests/test_run.py::test_broken_abort": COLLECTED,
        },
    ),
    Suite(
        ("marshmallow==4.4.0", "simplejson"),
        ("tests/test_decorators.py", "tests/test_registry.py"),
        without=("src",),
    ),
    Suite(
        ("itsdangerous==2.2.0", "freezegun"),
        ("tests/test_itsdangerous/test_signer.py", "tests/test_itsdangerous/test_encoding.py"),
        without=("src",),
    ),
    Suite(
        (
            "starlette==1.10.0",
            "httpx",
            "httpx2",
            "trio",
            "python-multipart",
            "jinja2",
            "itsdangerous",
            "pyyaml",
            "typing_extensions",
            "opentelemetry-sdk",
        ),
        ("tests/test_websockets.py", "tests/middleware/test_base.py", "tests/test_templates.py"),
        without=("starlette",),
    ),
    Suite(
        (
            "anyio==4.16.0",
            "trio",
            "hypothesis",
            "psutil",
            "trustme",
            "truststore",
            "exceptiongroup",
            "pytest-mock",
            "pytest-timeout",
        ),
        ("tests/streams/test_text.py", "tests/streams/test_stapled.py", "tests/test_lowlevel.py"),
        without=("src",),
    ),
    Suite(
        ("sqlalchemy==2.1.9", "greenlet"),
        ("test/base/test_events.py",),
        options=("-p", "no:logging"),
    ),
    Suite(
        ("tornado==6.6.1",),
        ("tornado/test/gen_test.py", "tornado/test/ioloop_test.py", "tornado/test/log_test.py"),
        source=False,
        flaky={
            "tornado/test/gen_test.py::RunnerGCTest::test_gc": "asks when something is collected",
        },
    ),
    Suite(("pytest-mock==3.17.0", "pytest-asyncio"), ("tests",), without=("src",)),
    Suite(
        ("pyfakefs==6.3.2",),
        (
            "pyfakefs/tests/fake_tempfile_test.py",
            "pyfakefs/tests/fake_filesystem_glob_test.py",
            "pyfakefs/pytest_tests",
        ),
        source=False,
    ),
    Suite(
        ("bitarray==3.12.3",),
        ("bitarray/test_bitarray.py",),
        source=False,
        options=("-k", "Slice or Sort or Copy or Pickle or Buffer or Count"),
    ),
    Suite(
        ("persistent==6.9",),
        (
            "persistent/tests/test_timestamp.py",
            "persistent/tests/test_ring.py",
            "persistent/tests/test_list.py",
            "persistent/tests/test_picklecache.py",
        ),
        source=False,
    ),
]
