//! What requests come to, route by route. Where a test says what Envoy does, Envoy 1.40 was asked.

mod answering;
mod caching;
mod configuration;
mod forwarding;
mod hashing;
mod matching;
mod virtual_hosts;
mod weighted_clusters;

use std::sync::Arc;

use http::HeaderMap;
use underpass_core::{
    config::{ConfigPath, Reader, parse_yaml},
    extension::ExtensionSet,
    stream_info::SharedStreamInfo,
    testing::TestServer,
};

use super::{Action, Route, RouteConfiguration, RouteTable};
use crate::{RequestHead, filter::HttpFilterContext, testing::request};

/// Routes, and a connection for requests to come by.
struct Routes {
    server: TestServer,
    table: Arc<RouteTable>,
    info: SharedStreamInfo,
}

impl Routes {
    /// From the YAML of a route configuration.
    fn new(yaml: &str) -> Self {
        Self::on(TestServer::default(), yaml).unwrap()
    }

    /// From the YAML of the routes of a virtual host for everything.
    fn of(routes: &str) -> Self {
        Self::new(&format!("virtual_hosts: [{{name: v, domains: ['*'], routes: {routes}}}]"))
    }

    fn on(server: TestServer, yaml: &str) -> Result<Self, String> {
        let config = read(yaml)?;
        let path = ConfigPath::root().field("route_config");
        let table = server.build("", |build| {
            RouteTable::build(&config, &path, &HttpFilterContext { build, name: "", stat_prefix: "http.h." })
        });
        let table = table.map_err(|error| error.to_string())?;
        let (client, here) = ("10.0.0.1:1234", "10.0.0.2:80");
        let address = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().into();
        let info = server.stream(address(client), address(here));
        Ok(Self { server, table, info })
    }

    fn find(&self, head: &RequestHead) -> Option<Arc<Route>> {
        self.table.route(head, &self.info, 0)
    }

    /// The name of the route of a `GET` without further headers.
    fn name(&self, path: &str) -> String {
        self.name_of(&request("GET", path, &[]))
    }

    /// `-` if there is no route.
    fn name_of(&self, head: &RequestHead) -> String {
        self.find(head).map_or_else(|| "-".to_owned(), |route| route.name.to_string())
    }

    /// What goes upstream of a request: its path and host, and its headers.
    fn upstream(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut head = request("GET", path, headers);
        let route = self.find(&head).unwrap();
        route.finalize_request(&mut head, &self.info, true);
        format!("{} {} {}", head.path(), head.authority(), print(&head.headers))
    }

    /// The status and the location of an answer that a route gives.
    fn answer(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let head = request("GET", path, headers);
        let route = self.find(&head).unwrap();
        let status = match &route.action {
            Action::Forward(_) => panic!("{path} goes upstream"),
            Action::Redirect(redirect) => redirect.status,
            Action::DirectResponse(response) => response.status,
        };
        format!("{} {}", status.as_u16(), route.location(&head, &self.info).unwrap_or_default())
    }
}

/// The report if it cannot be read.
fn read(yaml: &str) -> Result<RouteConfiguration, String> {
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let config = reader.read(&document.root, ConfigPath::root(), "envoy.config.route.v3.RouteConfiguration");
    config.ok_or_else(|| reader.into_report().to_string())
}

/// Sorted by name; values of one name in their order.
fn print(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    lines.join("; ")
}
