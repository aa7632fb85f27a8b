"""The YAML that Envoy and every product under test get: one text per scenario."""

TYPES = "type.googleapis.com/envoy.extensions."
MANY = "1000000"
BREAKERS = f"circuit_breakers: {{thresholds: [{{max_connections: {MANY}, max_pending_requests: {MANY}, max_requests: {MANY}}}]}}"
EVERY_STREAM = 2147483647  # max_concurrent_streams: as many as HTTP/2 has


def cluster(name, ports=(), internal=None, http2=False):
    """A static cluster: ports of the loopback, or one internal listener."""
    if internal:
        addresses = [f"envoy_internal_address: {{server_listener_name: {internal}}}"]
    else:
        addresses = [f"socket_address: {{address: 127.0.0.1, port_value: {port}}}" for port in ports]
    endpoints = "".join(f"        - endpoint:\n            address:\n              {address}\n" for address in addresses)
    text = f"""  - name: {name}
    type: STATIC
    connect_timeout: 5s
    {BREAKERS}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
{endpoints}"""
    if http2:
        text += f"""    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {TYPES}upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http2_protocol_options: {{}}
"""
    return text


def listener(name, port=None):
    if port is None:
        return f"  - name: {name}\n    internal_listener: {{}}\n"
    return f"  - name: {name}\n    address:\n      socket_address: {{address: 127.0.0.1, port_value: {port}}}\n"


def filter_chain(name, message, fields):
    return f"""    filter_chains:
    - filters:
      - name: {name}
        typed_config:
          "@type": {TYPES}{message}
{fields}"""


def tcp_proxy(target, tunnel=None):
    fields = f"          stat_prefix: tcp_{target}\n          cluster: {target}\n"
    if tunnel:
        fields += f"          tunneling_config:\n            hostname: {tunnel}\n"
    return filter_chain("envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", fields)


def echo():
    return filter_chain("envoy.filters.network.echo", "filters.network.echo.v3.Echo", "")


def connection_manager(target, connect=False):
    """Requests go to TARGET; with CONNECT, what comes is HTTP/2 and a CONNECT is ended here, its bytes go to TARGET."""
    if connect:
        match, timeout = (
            "connect_matcher: {}",
            "\n                  upgrade_configs:\n                  - upgrade_type: CONNECT\n                    connect_config: {}",
        )
        options = (
            "          http2_protocol_options: {allow_connect: true, max_concurrent_streams: %d}\n"
            "          upgrade_configs:\n          - upgrade_type: CONNECT\n" % EVERY_STREAM
        )
    else:
        match, timeout, options = "prefix: /", "\n                  timeout: 0s", ""
    return filter_chain(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        f"""          stat_prefix: http_{target}
          codec_type: {"HTTP2" if connect else "AUTO"}
{options}          route_config:
            name: r
            virtual_hosts:
            - name: v
              domains: ["*"]
              routes:
              - match:
                  {match}
                route:
                  cluster: {target}{timeout}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": {TYPES}filters.http.router.v3.Router
""",
    )


def bootstrap(listeners, clusters):
    internal = "internal_listener: {}" in "".join(listeners)
    extension = (
        f"""bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": {TYPES}bootstrap.internal_listener.v3.InternalListener
"""
        if internal
        else ""
    )
    return extension + "static_resources:\n  listeners:\n" + "".join(listeners) + "  clusters:\n" + "".join(clusters)


def tcp_chain(port, backends, hops):
    """TCP → HOPS internal listeners → TCP: the first hop is called hop1, the listener behind it inner1."""
    names = [f"hop{n}" for n in range(1, hops + 1)] + ["backend"]
    listeners = [listener("outer", port) + tcp_proxy(names[0])]
    listeners += [listener(f"inner{n}") + tcp_proxy(names[n]) for n in range(1, hops + 1)]
    clusters = [cluster(f"hop{n}", internal=f"inner{n}") for n in range(1, hops + 1)]
    return bootstrap(listeners, clusters + [cluster("backend", backends)])


def scenario(name, port, backends, decap=None):
    """The configuration of a scenario; BACKENDS are ports, DECAP the port where a tunnel ends."""
    if name in TCP_HOPS:
        return tcp_chain(port, backends, TCP_HOPS[name])
    if name == "http1":
        return bootstrap([listener("outer", port) + connection_manager("backend")], [cluster("backend", backends)])
    if name == "httpi":
        return bootstrap(
            [listener("outer", port) + connection_manager("hop"), listener("inner") + tcp_proxy("backend")],
            [cluster("hop", internal="inner"), cluster("backend", backends)],
        )
    if name == "tun":
        return bootstrap(
            [
                listener("outer", port) + connection_manager("hop"),
                listener("inner") + tcp_proxy("decap", f"127.0.0.1:{backends[0]}"),
            ],
            [cluster("hop", internal="inner"), cluster("decap", [decap], http2=True)],
        )
    if name == "tunt":
        return bootstrap(
            [listener("outer", port) + tcp_proxy("decap", f"127.0.0.1:{backends[0]}")], [cluster("decap", [decap], http2=True)]
        )
    if name == "decap":
        return bootstrap([listener("decap", port) + connection_manager("backend", connect=True)], [cluster("backend", backends)])
    if name == "streams":
        return bootstrap(
            [
                listener("outer", port) + connection_manager("hop", connect=True),
                listener("inner") + tcp_proxy("echo"),
                listener("echo") + echo(),
            ],
            [cluster("hop", internal="inner"), cluster("echo", internal="echo")],
        )
    raise KeyError(name)


TCP_HOPS = {"tcp1": 0, "tcp2": 1, "tcp5": 5}  # internal hops of the TCP scenarios
HTTP_SCENARIOS = ("http1", "httpi", "tun")  # where the client must speak HTTP
TUNNELS = ("tun", "tunt")  # where a second proxy ends the tunnel
SCENARIOS = (*TCP_HOPS, "http1", "httpi", "tun", "tunt")
