"""``rerank-plugins`` as processes that start at once.

Most of a command's time goes into importing SciPy and matplotlib. One process imports them and
waits; each command is a fork of it, with the folder, the environment and the streams of the process
that asked for it, and ends like any other interpreter.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

# Run by a Python that imports nothing else: hands its streams over, and ends as the command ends.
CLIENT = """
import json, os, socket, sys
asked = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as one:
    one.connect(sys.argv[1])
    socket.send_fds(one, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    one.sendall(asked)
    sys.exit(int(one.recv(16)))
"""


LIGHT = (
    *("click", "ir_measures", "jinja2", "scipy.stats", "matplotlib.backends.backend_agg"),
    *("matplotlib.backends.backend_svg", "rerank_plugins.cli"),
)
# The second is explained in docs/troubleshooting.md, by the name of ast.Num.
STRICT = ("-W", "error", "-W", "ignore::DeprecationWarning:ir_measures.util")


@contextmanager
def warm_command(options=STRICT, imported=()):
    """The words of a command line that stand for ``python -W error -m rerank_plugins.cli``.

    Args:
        options: Of the interpreter.
        imported: Modules that the commands need beside the light ones.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "socket"))
        command = [sys.executable, *options, __file__, path, *LIGHT, *imported]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            try:
                assert process.stdout.readline() == b"ready\n"
                yield [sys.executable, "-I", "-S", "-c", CLIENT, path]
            finally:
                process.terminate()


def _serve(path):
    """Return in a fork, with its request, for each one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    print("ready", flush=True)
    while True:
        one, _ = server.accept()
        if os.fork():
            one.close()
            continue
        server.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, streams, *_ = socket.recv_fds(one, 4, 3)
        asked = b""
        while len(asked) < int.from_bytes(size, "big"):
            asked += one.recv(1 << 16)
        if not (command := os.fork()):
            one.close()
            return json.loads(asked), streams
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(command, 0)
        one.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    (arguments, cwd, environment), streams = _serve(sys.argv[1])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["rerank-plugins", *arguments]
    runpy.run_module("rerank_plugins.cli", run_name="__main__", alter_sys=True)
