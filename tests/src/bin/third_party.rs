//! The engine with a filter of somebody else, whose configuration control planes can send in binary: it has registered its
//! descriptors. It says what it was told, and closes.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::Descriptors,
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
};
use underpass_ext_bootstrap_internal_listener as _;
use underpass_ext_tcp_proxy as _;
use underpass_ext_transport_raw_buffer as _;
use underpass_xds as _;

inventory::submit! {
    Descriptors { provider: env!("CARGO_PKG_NAME"), file_descriptor_set: include_bytes!("greeter.binpb") }
}

/// `greeter.proto`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Greeter {
    tone: Tone,
    persons: Vec<Person>,
    counts: BTreeMap<String, u32>,
    patience: Option<Duration>,
    bye: Option<String>,
    silent: Option<bool>,
    offset: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Tone {
    #[default]
    Casual,
    Formal,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Person {
    name: String,
    titles: Vec<String>,
}

#[extension(name = "example.greeter", type_url = "type.googleapis.com/example.greeter.v1.Greeter")]
impl NetworkFilterConfig for Greeter {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        let persons: Vec<_> =
            self.persons.iter().map(|person| format!("{}{}", person.titles.concat(), person.name)).collect();
        let (counts, patience, end) = (&self.counts, self.patience, (&self.bye, self.silent));
        Ok(Arc::new(Says(format!(
            "{:?} {} {counts:?} {patience:?} {end:?} {:?}",
            self.tone,
            persons.join(","),
            self.offset
        ))))
    }
}

/// Another one, whose message nobody has described.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Plain {
    text: String,
}

#[extension(name = "example.plain", type_url = "type.googleapis.com/example.plain.v1.Plain")]
impl NetworkFilterConfig for Plain {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(Says(self.text.clone())))
    }
}

struct Says(String);

impl NetworkFilter for Says {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            // A client that is gone need not be told.
            let _ = connection.io.write_all(self.0.as_bytes()).await;
            let _ = connection.io.shutdown().await;
            Ok(())
        })
    }
}

fn main() -> ExitCode {
    underpass_server::main()
}
