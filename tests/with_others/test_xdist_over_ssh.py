"""Past one machine: workers of pytest-xdist that are reached by ssh fork their tests there."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("xdist")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
READY_SECONDS = 20.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SSHD is None or shutil.which("ssh") is None or os.geteuid() != 0,
        reason="needs sshd, ssh and root, whose server may log itself in",
    ),
]


@pytest.fixture
def ssh_host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An sshd on the loopback interface: the name to reach it by, and the client's settings."""
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = tmp_path / "sshd_config"
    server.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path / 'host'}\nUsePAM no\n"
        f"PidFile none\nStrictModes no\nPermitRootLogin prohibit-password\n"
        f"AuthorizedKeysFile {tmp_path / 'authorized'}\n"
    )
    client = tmp_path / "ssh_config"
    client.write_text(
        f"Host loopback\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {tmp_path / 'user'}\n  IdentitiesOnly yes\n  LogLevel ERROR\n"
        "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    assert SSHD is not None
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", server], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "sshd does not listen"
                time.sleep(0.05)
        yield "loopback", client
    finally:
        process.terminate()
        process.wait()


def test_tests_are_forked_where_ssh_leads(pytester, ssh_host):
    host, config = ssh_host
    pytester.makepyfile(
        """
        import os, pytest, signal

        @pytest.fixture(scope="session")
        def shared():
            return os.getpid()

        def test_first(shared): assert "SSH_CONNECTION" in os.environ and os.getpid() != shared
        def test_crash(shared): os.kill(os.getpid(), signal.SIGSEGV)
        def test_last(shared): assert os.getpid() != shared
        """
    )

    result = pytester.runpytest_subprocess(
        *("--forked", "-p", "no:cacheprovider", "--dist=load"),
        *("--tx", f"2*ssh=-F {config} {host}//python={sys.executable}//chdir={pytester.path}"),
        timeout=180,
    )

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*crashed with SIGSEGV*in call*"])
    result.stdout.no_fnmatch_line("*worker*crashed*")
