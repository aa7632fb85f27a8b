"""What counts: strace, callgrind, an allocator, and the kernel's own books."""
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time

from counting import traffic
from counting.scenarios import Proxy

# Runs differ by these many requests on one connection, and by these many connections with one request each.
CALLS = 600, 150
# Start and end of the process vary by some 200,000 instructions, the more so the fewer requests have to bear them.
INSTRUCTIONS = 3000, 750
IDLE_SECONDS = 10
# Whom the proxy connects to.
ORIGIN = traffic.Origin()


class Missing(Exception):
    """This machine lacks what an instrument needs."""


def _need(tool, probe):
    """Finds a tool, or installs it from the distribution; it has to work, too."""
    if not shutil.which(tool) and shutil.which('apt-get'):
        sudo = [] if os.geteuid() == 0 else ['sudo', '-n']
        for step in (['update', '-qq'], ['install', '-y', '-qq', '--no-install-recommends', tool]):
            try:
                subprocess.run([*sudo, 'apt-get', *step], stdout=subprocess.DEVNULL, timeout=300, check=False)
            except (OSError, subprocess.TimeoutExpired):
                break
    if not shutil.which(tool):
        raise Missing(f'{tool} is not installed, and cannot be')
    if subprocess.run(probe, capture_output=True).returncode:
        raise Missing(f'{tool} does not work here: {" ".join(probe)}')


def _slopes(measure, requests, connections):
    """What one request more and one connection more cost: what differs between runs that differ in nothing else."""
    base, asked, connected = measure(requests, connections), measure(2 * requests, connections), measure(requests, 2 * connections)
    return {'per_request': (asked - base) / requests, 'per_connection': (connected - base) / connections}


class _Calls(dict):
    """System calls by name, which can be subtracted and divided like a number."""

    def __sub__(self, other):
        return _Calls({name: self.get(name, 0) - other.get(name, 0) for name in {*self, *other}})

    def __truediv__(self, count):
        return _Calls({name: calls / count for name, calls in self.items()})


def _run(command, binary, scenario, requests, connections):
    """Traffic through a proxy that is run by `command`."""
    with Proxy(binary, scenario, ORIGIN.port, command) as proxy:
        traffic.run(proxy.port, requests, connections)
        proxy.stop()


def syscalls(binary, scenario):
    """System calls, and apart from them how often the proxy waits: how much comes in one wake-up is a matter of luck. When the
    allocator gives memory back is a matter of time, so that is left out."""
    _need('strace', ['strace', '-f', '-o', '/dev/null', 'true'])

    def measure(requests, connections):
        with tempfile.NamedTemporaryFile('r') as out:
            command = ['strace', '-f', '-c', '-U', 'name,calls', '-o', out.name]
            _run(command, binary, scenario, requests, connections)
            rows = (line.split() for line in out.read().splitlines())
            return _Calls({row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] not in ('total', 'madvise')})

    found = {}
    for unit, calls in _slopes(measure, *CALLS).items():
        waits = sum(count for name, count in calls.items() if name.startswith('epoll_') and 'wait' in name)
        found[f'waits.{unit}'] = waits
        found[f'syscalls.{unit}'] = sum(calls.values()) - waits
        listing = ', '.join(f'{name} {count:.2f}' for name, count in sorted(calls.items()) if abs(count) >= 0.05)
        print(f'   {scenario} {unit}: {listing}')
    return found


def instructions(binary, scenario):
    """Instructions in user space."""
    if platform.machine() != 'x86_64':
        raise Missing('the bounds are those of x86_64')
    _need('valgrind', ['valgrind', '--tool=none', '-q', 'true'])

    def measure(requests, connections):
        with tempfile.NamedTemporaryFile('r') as out:
            command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out.name}', '-q']
            _run(command, binary, scenario, requests, connections)
            return int(re.search(r'^(?:totals|summary): (\d+)', open(out.name).read(), re.MULTILINE)[1])

    return {f'instructions.{unit}': count for unit, count in _slopes(measure, *INSTRUCTIONS).items()}


class _Memory:
    """A proxy whose allocator answers questions (`tests/src/bin/counting.rs`)."""

    def __init__(self, proxy):
        self.pipe = proxy.process.stdin, proxy.process.stdout
        self.ask()

    def ask(self):
        """Allocations so far, bytes held now."""
        self.pipe[0].write('\n')
        self.pipe[0].flush()
        return [int(number) for number in self.pipe[1].readline().split()]

    def settled(self):
        """The same once nothing changes any more."""
        answer = None
        for _ in range(100):
            answer, before = self.ask(), answer
            if answer == before:
                break
            time.sleep(0.02)
        return answer

    def lowest(self, times, work):
        """What `work` adds: the least of three, since the process does other things, too."""
        found = []
        for _ in range(3):
            before = self.settled()
            work()
            found.append([(now - then) / times for now, then in zip(self.settled(), before)])
        return [min(column) for column in zip(*found)]


def memory(binary, scenario):
    """Allocations, and bytes held by connections that wait."""
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with Proxy(binary, scenario, ORIGIN.port, **pipes) as proxy:
        # What grows at first and then stays, such as pools of buffers.
        traffic.run(proxy.port, 20, 50)
        allocator, client = _Memory(proxy), traffic.Client(proxy.port)
        client.ask(3)
        per_request, _ = allocator.lowest(100, lambda: client.ask(100))
        client.close()
        per_connection, left = allocator.lowest(50, lambda: traffic.connections(proxy.port, 50))
        before = allocator.settled()
        idle = [traffic.Client(proxy.port) for _ in range(100)]
        for client in idle:
            client.ask()
        held = (allocator.settled()[1] - before[1]) / len(idle)
        for client in idle:
            client.close()
    return {'allocations.per_request': per_request, 'allocations.per_connection': per_connection,
            'bytes.per_idle_connection': held, 'bytes.left_by_each_connection': left}


def wake_ups(binary, scenario):
    """How often any thread wakes up in a process with idle connections."""
    with Proxy(binary, scenario, ORIGIN.port) as proxy:
        clients = [traffic.Client(proxy.port) for _ in range(10)]
        for client in clients:
            client.ask()
        time.sleep(1)
        before = _switches(proxy.process.pid)
        time.sleep(IDLE_SECONDS)
        found = (_switches(proxy.process.pid) - before) / IDLE_SECONDS
        for client in clients:
            client.close()
    return {'wake_ups.per_idle_second': found}


def _switches(pid):
    """Each wait that ended was one voluntary context switch."""
    tasks = f'/proc/{pid}/task'
    status = (open(f'{tasks}/{task}/status').read() for task in os.listdir(tasks))
    return sum(int(re.search(r'^voluntary_ctxt_switches:\s*(\d+)', text, re.MULTILINE)[1]) for text in status)
