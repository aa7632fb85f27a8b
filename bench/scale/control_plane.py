#!/usr/bin/env python3
"""A control plane that is never the bottleneck: ADS with everything serialised before the first client comes.

It needs `grpcio` and `xds-protos` (PyPI). `--clusters N --listeners M` says how much there is; `--resend` answers a changed endpoint in
the state-of-the-world protocol with the endpoints of all clusters, as caches of snapshots do, instead of those of one. Commands come as
lines of JSON on standard input, events go as lines of JSON to standard output; times are seconds of the monotonic clock:

    {"change": [NUMBER, …]}      another endpoint for each of these clusters, one after the other, each when the one before is accepted
    {"probe": 0 or 1}            cluster 0 gets this backend as its only endpoint

    {"listening": PORT}
    {"changed": COUNT}           all are accepted
    {"pushed": TIME}             the probe is on its way
    {"rejected": MESSAGE}        the client refused a response
"""

import argparse
import json
import queue
import sys
import threading
import time
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"

output_lock = threading.Lock()


def say(**event):
    with output_lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def cluster(number):
    message = cluster_pb2.Cluster(name=f"cluster_{number}", type=cluster_pb2.Cluster.EDS)
    message.connect_timeout.FromSeconds(1)
    message.eds_cluster_config.eds_config.ads.SetInParent()
    message.eds_cluster_config.eds_config.resource_api_version = config_source_pb2.ApiVersion.V3
    return message.name, message


def endpoints(number, targets):
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=f"cluster_{number}")
    place = message.endpoints.add()
    for address, port in targets:
        socket = place.lb_endpoints.add().endpoint.address.socket_address
        socket.address, socket.port_value = address, port
    return message.cluster_name, message


def listener(number, first_port):
    """Every second one is an internal listener."""
    message = listener_pb2.Listener(name=f"listener_{number}")
    if number % 2:
        message.internal_listener.SetInParent()
    else:
        socket = message.address.socket_address
        socket.address, socket.port_value = "127.0.0.1", first_port + number // 2
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=f"tcp_{number}", cluster=f"cluster_{number}")
    tcp_proxy = message.filter_chains.add().filters.add(name="tcp_proxy")
    tcp_proxy.typed_config.Pack(proxy)
    return message.name, message


def packed(message):
    value = any_pb2.Any()
    value.Pack(message, deterministic=True)
    return value


class Resource:
    """One resource in the forms in which responses hold it: a field of theirs, serialised."""

    def __init__(self, name, message, version):
        self.name, self.version = name, version
        value = packed(message)
        self.of_state = discovery_pb2.DiscoveryResponse(resources=[value]).SerializeToString()
        wrapped = discovery_pb2.Resource(name=name, version=version, resource=value)
        self.of_delta = discovery_pb2.DeltaDiscoveryResponse(resources=[wrapped]).SerializeToString()


class ControlPlane:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.stream = None
        self.versions = 1
        named = lambda pairs: {name: Resource(name, message, "1") for name, message in pairs}  # noqa: E731
        self.types = {
            CLUSTER: named(cluster(n) for n in range(options.clusters)),
            ENDPOINTS: named(endpoints(n, self.targets(n, 0)) for n in range(options.clusters)),
            LISTENER: named(listener(n, options.first_port) for n in range(options.listeners)),
        }

    def targets(self, number, generation):
        if number == 0:
            return [("127.0.0.1", self.options.backends[generation])]
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return [(address, 80), (address, 1024 + generation)]

    def change(self, number, generation):
        """Another version of the endpoints of a cluster. Returns the nonce that the client will accept it by."""
        with self.lock:
            self.versions += 1
            name, message = endpoints(number, self.targets(number, generation))
            self.types[ENDPOINTS][name] = Resource(name, message, str(self.versions))
            names = self.types[ENDPOINTS] if self.options.resend else [name]
            return self.stream.send(ENDPOINTS, names)

    def serve(self, kind, requests):
        stream = kind(self)
        self.stream = stream

        def read():
            try:
                for request in requests:
                    if request.HasField("error_detail"):
                        say(rejected=request.error_detail.message)
                    with self.lock:
                        stream.requested(request)
            except grpc.RpcError:
                pass
            stream.out.put(None)

        threading.Thread(target=read, daemon=True).start()
        while (message := stream.out.get()) is not None:
            yield message


class Stream:
    def __init__(self, plane):
        self.plane = plane
        self.out = queue.Queue()
        self.accepted = queue.Queue()
        self.nonces = 0
        self.known = {}

    def send(self, type_url, names):
        self.nonces += 1
        nonce = str(self.nonces)
        resources = self.plane.types[type_url]
        parts = [self.serialised(resources[name]) for name in names if name in resources]
        head = self.head(type_url, nonce, str(self.plane.versions))
        # Messages of protobuf may be put behind each other: that merges them.
        self.out.put(b"".join([head, *parts]))
        return nonce


class StateOfTheWorld(Stream):
    def requested(self, request):
        names, known = set(request.resource_names), self.known.get(request.type_url)
        self.known[request.type_url] = names
        if request.response_nonce:
            self.accepted.put(request.response_nonce)
        if known is None or names - known:
            self.send(request.type_url, request.resource_names or self.plane.types[request.type_url])

    @staticmethod
    def serialised(resource):
        return resource.of_state

    @staticmethod
    def head(type_url, nonce, version):
        return discovery_pb2.DiscoveryResponse(type_url=type_url, nonce=nonce, version_info=version).SerializeToString()


class Delta(Stream):
    def requested(self, request):
        first = request.type_url not in self.known
        self.known[request.type_url] = True
        if request.response_nonce:
            self.accepted.put(request.response_nonce)
        names = list(request.resource_names_subscribe)
        if first and not names or "*" in names:
            names = self.plane.types[request.type_url]
        # That there is nothing is an answer, too.
        if names or first:
            self.send(request.type_url, names)

    @staticmethod
    def serialised(resource):
        return resource.of_delta

    @staticmethod
    def head(type_url, nonce, version):
        message = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, system_version_info=version)
        return message.SerializeToString()


def serve(plane):
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=unlimited)
    kinds = {
        "StreamAggregatedResources": (StateOfTheWorld, discovery_pb2.DiscoveryRequest),
        "DeltaAggregatedResources": (Delta, discovery_pb2.DeltaDiscoveryRequest),
    }

    def handler(method):
        kind, request = kinds[method]
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, _: plane.serve(kind, requests),
            request_deserializer=request.FromString,
            response_serializer=lambda message: message,
        )

    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    handlers = grpc.method_handlers_generic_handler(service, {method: handler(method) for method in kinds})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(listening=port)
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--listeners", type=int, required=True)
    parser.add_argument("--first-port", type=int, required=True, help="of the listeners that have one")
    parser.add_argument("--backends", type=int, nargs=2, required=True, help="the ports between which the probe changes")
    parser.add_argument("--resend", action="store_true")
    plane = ControlPlane(parser.parse_args())
    server = serve(plane)
    generation = 1
    for line in sys.stdin:
        command = json.loads(line)
        if "change" in command:
            generation += 1
            for number in command["change"]:
                nonce = plane.change(number, generation)
                while plane.stream.accepted.get(timeout=60) != nonce:
                    pass
            say(changed=len(command["change"]))
        else:
            pushed = time.monotonic()
            plane.change(0, command["probe"])
            say(pushed=pushed)
    server.stop(None)


main()
