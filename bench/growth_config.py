#!/usr/bin/env python3
"""Prints a configuration with many listeners and clusters, to see what one more of them costs.

  bench/growth_config.py --listeners 1000 --clusters 1000 --internal > growth.yaml
  underpass -c growth.yaml

Listener i takes connections on port `--first-port` + i of 127.0.0.1 (with `--port-zero`, on a port that the kernel picks, so that
there may be more of them than ports are free) and forwards them to cluster i modulo the number of clusters. A cluster forwards to
127.0.0.1 at `--backend-port`. With `--internal` every cluster goes through an internal listener of its own first: listener i →
cluster `hop_i` → internal listener `internal_i` → cluster `cluster_i` → backend, as somebody would write who composes a proxy out
of simple ones. Envoy reads the same file.
"""
import argparse
import sys

TYPE = "type.googleapis.com/envoy.extensions."


def filter_chain(cluster, stat_prefix):
    return f"""    filter_chains:
    - filters:
      - name: tcp_proxy
        typed_config:
          "@type": {TYPE}filters.network.tcp_proxy.v3.TcpProxy
          cluster: {cluster}
          stat_prefix: {stat_prefix}
"""


def listener(index, cluster, port):
    return f"""  - name: listener_{index}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
""" + filter_chain(cluster, f"tcp_{index}")


def internal_listener(index):
    return f"""  - name: internal_{index}
    internal_listener: {{}}
""" + filter_chain(f"cluster_{index}", f"internal_{index}")


def cluster(name, address):
    return f"""  - name: {name}
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{{address}}}}}
"""


def configuration(arguments):
    entry = "hop" if arguments.internal else "cluster"
    yield f"""admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {arguments.admin_port}}}}}
static_resources:
  listeners:
"""
    for index in range(arguments.listeners):
        port = 0 if arguments.port_zero else arguments.first_port + index
        yield listener(index, f"{entry}_{index % arguments.clusters}", port)
    if arguments.internal:
        for index in range(arguments.clusters):
            yield internal_listener(index)
    yield "  clusters:\n"
    for index in range(arguments.clusters):
        yield cluster(f"cluster_{index}", f"socket_address: {{address: 127.0.0.1, port_value: {arguments.backend_port}}}")
        if arguments.internal:
            yield cluster(f"hop_{index}", f"envoy_internal_address: {{server_listener_name: internal_{index}}}")
    if arguments.internal:
        yield f"""bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": {TYPE}bootstrap.internal_listener.v3.InternalListener
"""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=1, help="listeners with a socket (default: 1)")
    parser.add_argument("--clusters", type=int, default=1, help="clusters, at least 1 (default: 1)")
    parser.add_argument("--internal", action="store_true", help="an internal listener in front of each cluster")
    parser.add_argument("--first-port", type=int, default=24000, help="port of listener_0 (default: 24000)")
    parser.add_argument("--port-zero", action="store_true", help="the kernel picks the ports of listeners")
    parser.add_argument("--backend-port", type=int, default=21000, help="port of the backend (default: 21000)")
    parser.add_argument("--admin-port", type=int, default=0, help="port of admin (default: 0, the kernel picks)")
    arguments = parser.parse_args()
    if arguments.clusters < 1 or arguments.listeners < 0:
        parser.error("there must be a cluster, and no fewer than no listeners")
    if not arguments.port_zero and arguments.first_port + arguments.listeners > 65536:
        parser.error("not so many ports; see --port-zero")
    return arguments


if __name__ == "__main__":
    try:
        sys.stdout.writelines(configuration(parse_arguments()))
    except BrokenPipeError:
        sys.stderr.close()
