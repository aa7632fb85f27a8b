"""The configurations that are measured, and the proxy that runs one of them."""
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TYPES = 'type.googleapis.com/envoy.extensions.'
PATIENCE = 60


def _socket(port):
    return {'socket_address': {'address': '127.0.0.1', 'port_value': port}}


def _typed(name, kind, **fields):
    return {'name': name, 'typed_config': {'@type': TYPES + kind, **fields}}


def _cluster(name, address):
    endpoint = {'endpoint': {'address': address}}
    return {'name': name, 'type': 'STATIC', 'connect_timeout': '60s',
            'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': [endpoint]}]}}


def _tcp_proxy(cluster, **fields):
    return _typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix=cluster, cluster=cluster, **fields)


def _connection_manager(cluster):
    route = {'match': {'prefix': '/'}, 'route': {'cluster': cluster}}
    return _typed('http', 'filters.network.http_connection_manager.v3.HttpConnectionManager',
                  stat_prefix=cluster, codec_type='HTTP1',
                  route_config={'name': 'r', 'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': [route]}]},
                  http_filters=[_typed('router', 'filters.http.router.v3.Router')])


def _listener(name, where, network_filter):
    return {'name': name, **where, 'filter_chains': [{'filters': [network_filter]}]}


def _tcp(internal_hops, **fields):
    """TCP listener → as many internal listeners → origin."""
    def config(origin):
        listeners, clusters = [], []
        for hop in range(internal_hops + 1):
            where = {'internal_listener': {}} if hop else {'address': _socket(0)}
            listeners.append(_listener(f'l{hop}', where, _tcp_proxy(f'c{hop}', **fields)))
            nearest = {'envoy_internal_address': {'server_listener_name': f'l{hop + 1}'}}
            clusters.append(_cluster(f'c{hop}', nearest if hop < internal_hops else _socket(origin)))
        extension = _typed('internal', 'bootstrap.internal_listener.v3.InternalListener')
        return json.dumps({'static_resources': {'listeners': listeners, 'clusters': clusters},
                           'bootstrap_extensions': [extension]})
    return config


def _seed(origin):
    """The documented example: one internal hop, as a user writes it."""
    text = open(os.path.join(ROOT, 'examples/configs/seed.yaml')).read()
    return text.replace('port_value: 19000', 'port_value: 0').replace('port_value: 19001', f'port_value: {origin}')


def _http(origin):
    """An HTTP connection manager in front of an HTTP/1 origin."""
    return json.dumps({'static_resources': {
        'listeners': [_listener('l0', {'address': _socket(0)}, _connection_manager('c0'))],
        'clusters': [_cluster('c0', _socket(origin))]}})


_LOG = _typed('log', 'access_loggers.file.v3.FileAccessLog', path='/dev/null')

# Name → configuration for an origin's port. The first listener is the way in.
SCENARIOS = {'one_hop': _tcp(0), 'chain': _tcp(1), 'five_internal_hops': _tcp(5), 'seed': _seed, 'http': _http,
             'one_hop_logged': _tcp(0, access_log=[_LOG])}
# Those that have bounds.
MEASURED = ['one_hop', 'chain', 'five_internal_hops', 'seed', 'http']


class Proxy:
    """A running proxy with one worker. `command` is what the binary is run by, such as strace."""

    def __init__(self, binary, scenario, origin, command=(), **popen):
        self.directory = tempfile.TemporaryDirectory(prefix='underpass-counts-')
        self.scenario = scenario
        config, address, log = (os.path.join(self.directory.name, name) for name in ('config.yaml', 'admin', 'log'))
        with open(config, 'w') as file:
            file.write(SCENARIOS[scenario](origin))
        admin = json.dumps({'admin': {'address': _socket(0)}})
        with open(log, 'w') as file:
            self.process = subprocess.Popen(
                [*command, binary, '-c', config, '--config-yaml', admin, '--admin-address-path', address,
                 '--concurrency', '1', '--log-level', 'error'],
                stdin=popen.pop('stdin', subprocess.DEVNULL), stdout=popen.pop('stdout', file), stderr=file, **popen)
        self.log = log
        self.admin = self._wait(lambda: open(address).read().strip() if os.path.exists(address) else None)
        self._wait(lambda: self.ask('/ready') == 'LIVE\n')
        self.port = int(self.ask('/listeners').split()[0].rpartition(':')[2])

    def _wait(self, find):
        """What `find` finds, once it does. A look costs the proxy nothing, or little: it is counted."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := find():
                return found
            time.sleep(0.05)
        raise RuntimeError(f'{self.scenario}: the proxy did not start: {open(self.log).read()}')

    def ask(self, path, data=None):
        try:
            return urllib.request.urlopen(f'http://{self.admin}{path}', data, timeout=PATIENCE).read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.read().decode()

    def stop(self):
        """Ends it in an orderly way, so that what runs it has the last word."""
        self.ask('/quitquitquit', b'')
        self.process.wait(PATIENCE)
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.directory.cleanup()
