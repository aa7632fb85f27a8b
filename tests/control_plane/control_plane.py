#!/usr/bin/env python3
"""A control plane for tests: ADS, state of the world and delta, over the official messages and the official gRPC.

It needs `grpcio` and `xds-protos` from PyPI. Commands come as lines of JSON on standard input, and what happens is written
as lines of JSON to standard output:

    {"set": TYPE, "version": V, "resources": [JSON, …]}   the state of a type from now on; streams are told what changed
    {"push": {…}}                                         a response (DiscoveryResponse or DeltaDiscoveryResponse, as JSON)
                                                          to all streams, whatever they asked for
    {"push_bytes": BASE64}                                the same, as bytes that need not be a message
    {"clusters": N, "version": V, "from": PORT}           N clusters with one endpoint each, without their JSON
    {"heartbeat": TYPE, "name": N, "ttl": T}              says that a resource is good for another while, without sending it
    {"close": STATUS}                                     ends all streams with a gRPC status code
    {"mute": BOOL}                                        answers nothing from now on
    {"delay": SECONDS}                                    every message leaves so much later from now on
    {"deaf": BOOL}                                        streams that are opened from now on are not read after their first
                                                          request
    {"flood": TYPE, "name": N}                            sends an unchanged resource over and over, as fast as it is read,
                                                          until the streams are gone
    {"descriptors": BASE64}                               messages of a third party from now on: a FileDescriptorSet
    {"stop": true}                                        ends

A resource of JSON may have these besides its fields:

    "$bytes": BASE64          the bytes of the resource, whatever they are; of the other fields only the name counts
    "$type": TYPE             another type than that of the response
    "$ttl": "1.5s"            its time to live, for which it is wrapped in the state-of-the-world protocol
    "$padding": N             so many bytes of metadata

    {"listening": PORT}
    {"stream": ID, "protocol": P, "method": M, "metadata": {…}}
                                                          a stream was opened
    {"request": ID, "message": {…}}                       a request, as JSON with the names of the proto files
    {"flooded": N}                                        so many messages of a flood were taken by the transport
    {"closed": ID}                                        a stream is gone
"""

import base64
import importlib
import json
import pkgutil
import queue
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, json_format

CLUSTER = "envoy.config.cluster.v3.Cluster"
# What must be known to read resources; importing a module makes its messages known.
PACKAGES = [
    "envoy.config.cluster.v3", "envoy.config.endpoint.v3", "envoy.config.listener.v3", "envoy.config.route.v3",
    "envoy.config.bootstrap.v3", "envoy.service.discovery.v3", "envoy.extensions.filters.network.tcp_proxy.v3",
    "envoy.extensions.filters.network.http_connection_manager.v3", "envoy.extensions.filters.http.router.v3",
    "envoy.extensions.filters.network.echo.v3", "envoy.extensions.filters.network.direct_response.v3",
    "envoy.extensions.access_loggers.file.v3", "envoy.extensions.bootstrap.internal_listener.v3",
    "envoy.extensions.transport_sockets.internal_upstream.v3", "envoy.extensions.transport_sockets.raw_buffer.v3",
    "envoy.extensions.upstreams.http.v3", "xds.type.v3", "udpa.type.v1",
]
# Services, and the stems of their methods.
SERVICES = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": "AggregatedResources",
    "envoy.service.cluster.v3.ClusterDiscoveryService": "Clusters",
    "envoy.service.endpoint.v3.EndpointDiscoveryService": "Endpoints",
    "envoy.service.listener.v3.ListenerDiscoveryService": "Listeners",
    "envoy.service.route.v3.RouteDiscoveryService": "Routes",
}
# Types of which everything is meant where no name is named.
WILDCARDS = {CLUSTER, "envoy.config.listener.v3.Listener"}


def import_messages():
    for package in PACKAGES:
        module = importlib.import_module(package)
        for found in pkgutil.iter_modules(module.__path__, package + "."):
            if found.name.endswith("_pb2"):
                importlib.import_module(found.name)


import_messages()
from envoy.config.cluster.v3 import cluster_pb2  # noqa: E402
from envoy.service.discovery.v3 import discovery_pb2  # noqa: E402

output_lock = threading.Lock()


def say(**event):
    with output_lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def url(message):
    return "type.googleapis.com/" + message


def name_of(message):
    return getattr(message, "cluster_name", None) or message.name


def to_any(resource_type, resource):
    """A resource of JSON as (name, its Any, its time to live)."""
    resource = dict(resource)
    name = resource.get("name") or resource.get("cluster_name") or ""
    resource_type = resource.pop("$type", resource_type)
    ttl = None
    if "$ttl" in resource:
        ttl = duration(resource.pop("$ttl"))
    if "$padding" in resource:
        text = "x" * resource.pop("$padding")
        resource.setdefault("metadata", {}).setdefault("filter_metadata", {})["padding"] = {"text": text}
    if "$bytes" in resource:
        value = base64.b64decode(resource["$bytes"])
        return name, (any_pb2.Any(type_url=url(resource_type), value=value), ttl)
    holder = any_pb2.Any()
    json_format.ParseDict({"@type": url(resource_type), **resource}, holder)
    return name, (holder, ttl)


def duration(text):
    return json_format.ParseDict(text, duration_pb2.Duration())


class State:
    """The state of a type: a version, and what is there in which version, in order; names may occur twice."""

    def __init__(self):
        self.version = ""
        self.resources = []

    def set(self, version, resources):
        known = {name: (since, value) for name, since, value in self.resources}
        self.version = version
        self.resources = [
            (name, known[name][0] if name in known and known[name][1] == value else version, value)
            for name, value in resources
        ]


class ControlPlane:
    def __init__(self):
        self.lock = threading.Lock()
        self.states = {}
        self.streams = {}
        self.last_stream = 0
        self.muted = False
        self.delay = 0
        self.deaf = False

    def state(self, resource_type):
        return self.states.setdefault(resource_type, State())

    def set(self, resource_type, version, resources):
        with self.lock:
            self.state(resource_type).set(version, resources)
            if not self.muted:
                for stream in self.streams.values():
                    stream.changed(resource_type)

    def push(self, make):
        with self.lock:
            for stream in self.streams.values():
                stream.out.put(make(stream))

    def close(self, code):
        with self.lock:
            for stream in self.streams.values():
                stream.code = code
                stream.out.put(None)

    def serve(self, kind, method, requests, context):
        with self.lock:
            self.last_stream += 1
            stream = kind(self, self.last_stream)
            self.streams[stream.id] = stream
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        say(stream=stream.id, protocol=kind.PROTOCOL, method=method, metadata=metadata)

        def read():
            try:
                for request in requests:
                    message = json_format.MessageToDict(request, preserving_proto_field_name=True)
                    say(request=stream.id, message=message)
                    with self.lock:
                        if not self.muted:
                            stream.requested(request)
                        if self.deaf:
                            return
            except grpc.RpcError:
                pass
            stream.out.put(None)

        def flood(make):
            sent = 0
            try:
                while True:
                    with self.lock:
                        message = make(stream)
                    yield message.SerializeToString()
                    sent += 1
            finally:
                say(flooded=sent)

        threading.Thread(target=read, daemon=True).start()
        try:
            while (message := stream.out.get()) is not None:
                if self.delay:
                    time.sleep(self.delay)
                if callable(message):
                    yield from flood(message)
                yield message
            if stream.code:
                context.abort(list(grpc.StatusCode)[stream.code], "closed by the test")
        finally:
            with self.lock:
                self.streams.pop(stream.id, None)
            say(closed=stream.id)


class Stream:
    def __init__(self, plane, number):
        self.plane = plane
        self.id = number
        self.out = queue.Queue()
        self.code = 0
        self.nonces = 0
        self.wanted = {}

    def nonce(self):
        self.nonces += 1
        return f"{self.id}.{self.nonces}"


def wrapped(name, value, ttl):
    if ttl is None:
        return value
    holder = any_pb2.Any()
    holder.Pack(discovery_pb2.Resource(name=name, resource=value, ttl=ttl))
    return holder


class StateOfTheWorld(Stream):
    PROTOCOL = "sotw"
    RESPONSE = discovery_pb2.DiscoveryResponse

    def heartbeat(self, resource_type, name, ttl):
        holder = any_pb2.Any()
        holder.Pack(discovery_pb2.Resource(name=name, ttl=ttl))
        version = self.plane.state(resource_type).version
        return discovery_pb2.DiscoveryResponse(
            version_info=version, type_url=url(resource_type), nonce=self.nonce(), resources=[holder])

    def unchanged(self, resource_type, name):
        state = self.plane.state(resource_type)
        resources = [wrapped(found, *value) for found, _, value in state.resources if found == name]
        return discovery_pb2.DiscoveryResponse(
            version_info=state.version, type_url=url(resource_type), nonce=self.nonce(), resources=resources)

    def requested(self, request):
        resource_type = request.type_url.rpartition("/")[2]
        names = set(request.resource_names)
        known = self.wanted.get(resource_type)
        self.wanted[resource_type] = names
        # An ACK or NACK asks for nothing new.
        if known is None or names - known:
            self.answer(resource_type)

    def changed(self, resource_type):
        if resource_type in self.wanted:
            self.answer(resource_type)

    def answer(self, resource_type):
        state, names = self.plane.state(resource_type), self.wanted[resource_type]
        every = resource_type in WILDCARDS and (not names or "*" in names)
        if not state.version:
            return
        found = [(name, value) for name, _, value in state.resources if every or name in names]
        response = discovery_pb2.DiscoveryResponse(
            version_info=state.version, type_url=url(resource_type), nonce=self.nonce(),
            resources=[wrapped(name, *value) for name, value in found])
        response.control_plane.identifier = "test control plane"
        self.out.put(response.SerializeToString())


class Delta(Stream):
    PROTOCOL = "delta"
    RESPONSE = discovery_pb2.DeltaDiscoveryResponse

    def __init__(self, plane, number):
        super().__init__(plane, number)
        self.sent = {}

    def heartbeat(self, resource_type, name, ttl):
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=url(resource_type), nonce=self.nonce())
        version = self.sent.get(resource_type, {}).get(name, "")
        response.resources.add(name=name, version=version, ttl=ttl)
        return response

    def unchanged(self, resource_type, name):
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=url(resource_type), nonce=self.nonce())
        for found, version, (value, ttl) in self.plane.state(resource_type).resources:
            if found == name:
                response.resources.add(name=name, version=version, resource=value, ttl=ttl)
        return response

    def requested(self, request):
        resource_type = request.type_url.rpartition("/")[2]
        first = resource_type not in self.wanted
        wanted = self.wanted.setdefault(resource_type, set())
        sent = self.sent.setdefault(resource_type, {})
        if first:
            sent.update(request.initial_resource_versions)
            if not request.resource_names_subscribe:
                wanted.add("*")
        wanted |= set(request.resource_names_subscribe)
        wanted -= set(request.resource_names_unsubscribe)
        for name in request.resource_names_unsubscribe:
            sent.pop(name, None)
        if first or request.resource_names_subscribe:
            self.answer(resource_type, first)

    def changed(self, resource_type):
        if resource_type in self.wanted:
            self.answer(resource_type, False)

    def answer(self, resource_type, even_nothing):
        state, wanted, sent = self.plane.state(resource_type), self.wanted[resource_type], self.sent[resource_type]
        if not state.version:
            return
        response = discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=state.version, type_url=url(resource_type), nonce=self.nonce())
        response.control_plane.identifier = "test control plane"
        before = dict(sent)
        for name, version, (value, ttl) in state.resources:
            if ("*" in wanted or name in wanted) and before.get(name) != version:
                response.resources.add(name=name, version=version, resource=value, ttl=ttl)
                sent[name] = version
        here = {name for name, *_ in state.resources}
        for name in [name for name in sent if name not in here]:
            response.removed_resources.append(name)
            del sent[name]
        if response.resources or response.removed_resources or even_nothing:
            self.out.put(response.SerializeToString())


def many_clusters(count, port):
    for number in range(count):
        name = f"cluster_{number:05}"
        cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
        cluster.connect_timeout.FromMilliseconds(5000)
        cluster.load_assignment.cluster_name = name
        endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
        endpoint.address.socket_address.address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        endpoint.address.socket_address.port_value = port
        value = any_pb2.Any()
        value.Pack(cluster)
        yield name, (value, None)


def push_message(plane, message):
    def make(stream):
        response = json_format.ParseDict(message, stream.RESPONSE())
        return response.SerializeToString()
    plane.push(make)


def obey(plane, command):
    if "set" in command:
        resources = [to_any(command["set"], resource) for resource in command["resources"]]
        plane.set(command["set"], command["version"], resources)
    elif "clusters" in command:
        plane.set(CLUSTER, command["version"], list(many_clusters(command["clusters"], command["from"])))
    elif "push" in command:
        push_message(plane, command["push"])
    elif "push_bytes" in command:
        plane.push(lambda _: base64.b64decode(command["push_bytes"]))
    elif "heartbeat" in command:
        kind, ttl = command["heartbeat"], duration(command["ttl"])
        plane.push(lambda stream: stream.heartbeat(kind, command["name"], ttl).SerializeToString())
    elif "flood" in command:
        plane.push(lambda _: lambda stream: stream.unchanged(command["flood"], command["name"]))
    elif "descriptors" in command:
        for file in descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(command["descriptors"])).file:
            descriptor_pool.Default().Add(file)
    elif "close" in command:
        plane.close(command["close"])
    elif "mute" in command:
        plane.muted = command["mute"]
    elif "delay" in command:
        plane.delay = command["delay"]
    elif "deaf" in command:
        plane.deaf = command["deaf"]
    else:
        raise SystemExit(0)


def main():
    plane = ControlPlane()
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=unlimited)
    forms = {
        "Stream": (StateOfTheWorld, discovery_pb2.DiscoveryRequest),
        "Delta": (Delta, discovery_pb2.DeltaDiscoveryRequest),
    }

    def handler(verb, stem):
        kind, request = forms[verb]
        # Responses are bytes already, so that they may be wrong.
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: plane.serve(kind, verb + stem, requests, context),
            request_deserializer=request.FromString, response_serializer=lambda message: message)

    for service, stem in SERVICES.items():
        handlers = {verb + stem: handler(verb, stem) for verb in forms}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:" + (sys.argv[1] if len(sys.argv) > 1 else "0"))
    if not port:
        raise SystemExit("the port cannot be had")
    # Commands that are there already count before the first client.
    server.start()
    say(listening=port)
    for line in sys.stdin:
        obey(plane, json.loads(line))
    server.stop(None)


main()
