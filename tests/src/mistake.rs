//! Wrong configurations: what the binary says of them, and where.

use crate::Start;

/// A correct configuration, with comments' worth of room to make mistakes in.
pub const GOOD: &str = r#"static_resources:
  listeners:
  - name: outer
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: outer
          cluster: to_inner
  - name: inner
    internal_listener: {}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: inner
          cluster: up
  clusters:
  - name: to_inner
    type: STATIC
    load_assignment:
      cluster_name: to_inner
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {envoy_internal_address: {server_listener_name: inner}}}
    transport_socket:
      name: internal
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
        passthrough_metadata: []
        transport_socket:
          name: raw
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
  - name: up
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
bootstrap_extensions:
- name: internal
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener
"#;

/// A way to spoil [`GOOD`].
#[derive(Debug, Clone, Copy)]
pub struct Mistake {
    /// What of the text is replaced (its first occurrence) …
    pub instead_of: &'static str,
    /// … and by what. `§` stands where the message must point to; it is not part of the configuration.
    pub write: &'static str,
    /// What the message must name.
    pub names: &'static [&'static str],
}

impl Mistake {
    /// The configuration with the mistake, and the line and column to point to.
    #[track_caller]
    pub fn made(&self) -> (String, Option<String>) {
        assert!(GOOD.contains(self.instead_of), "{}", self.instead_of);
        let marked = GOOD.replacen(self.instead_of, self.write, 1);
        let place = marked.find('§').map(|at| {
            let before = &marked[..at];
            let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
            let column = before.chars().rev().take_while(|it| *it != '\n').count() + 1;
            format!("config.yaml:{line}:{column}")
        });
        (marked.replace('§', ""), place)
    }

    /// Asserts that the binary refuses it in both modes: with exit code 1, a message that names what is wrong, and the
    /// place of it.
    #[track_caller]
    pub fn assert_refused(&self) {
        let (config, place) = self.made();
        for mode in ["serve", "validate"] {
            let (code, said) = outcome(&config, mode);
            assert_eq!(code, Some(1), "{mode} {}: {said}", self.write);
            for name in self.names {
                assert!(said.contains(name), "{mode} {}: does not name {name}:\n{said}", self.write);
            }
            if let Some(place) = &place {
                assert!(said.contains(&format!("{place}: error: ")), "{mode}: not at {place}:\n{said}");
            }
        }
    }

    /// Asserts that the binary accepts it, and says a warning at the place.
    #[track_caller]
    pub fn assert_warned(&self) {
        let (config, place) = self.made();
        let (code, said) = outcome(&config, "validate");
        assert_eq!(code, Some(0), "{}: {said}", self.write);
        for name in self.names {
            assert!(said.contains(name), "{}: does not name {name}:\n{said}", self.write);
        }
        if let Some(place) = &place {
            assert!(said.contains(&format!("{place}: warning: ")), "not at {place}:\n{said}");
        }
    }
}

/// How the binary ends with a configuration, and what it says on both streams.
#[track_caller]
pub fn outcome(config: &str, mode: &str) -> (Option<i32>, String) {
    let output = Start::new(config).arguments(["--mode", mode]).run();
    let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    (output.status.code(), out + &err)
}
