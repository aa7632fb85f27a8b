//! Control planes as sources of configuration: `api_config_source` and `ads`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, ConfigSource, SourceKind},
    config_subscription::{
        AggregatedSource, CONFIG_SOURCE_CATEGORY, ConfigSourceFactory, ConfigSourceRegistration, Delivery,
        Subscription,
    },
    extension::Registration,
    server::ServerContext,
    stats::Scope,
};

use crate::{
    control_plane::{ControlPlane, Purpose, read},
    node::node,
    resource_type::{aggregated_method, method_of},
    service::Client,
    stream::{Command, Settings, SubscriptionId},
};

/// Subscribes on streams to control planes.
struct ControlPlanes;

inventory::submit! {
    ConfigSourceRegistration {
        registration: Registration::named(
            CONFIG_SOURCE_CATEGORY,
            "envoy.config_subscription.grpc",
            env!("CARGO_PKG_NAME"),
            "Asks a control plane for each subscription (api_config_source).",
        ),
        kind: SourceKind::Api,
        factory: &ControlPlanes,
    }
}

inventory::submit! {
    ConfigSourceRegistration {
        registration: Registration::named(
            CONFIG_SOURCE_CATEGORY,
            "envoy.config_subscription.ads",
            env!("CARGO_PKG_NAME"),
            "Asks the control plane of ads_config for everything, on one stream (ads).",
        ),
        kind: SourceKind::Ads,
        factory: &ControlPlanes,
    }
}

impl ConfigSourceFactory for ControlPlanes {
    fn check(
        &self,
        source: &ConfigSource,
        path: &ConfigPath,
        server: &Arc<ServerContext>,
    ) -> Result<(), BuildError> {
        control_plane(source, path, server).map(|_| ())
    }

    fn subscribe(
        &self,
        source: &ConfigSource,
        delivery: Delivery,
        server: &Arc<ServerContext>,
    ) -> Box<dyn Subscription> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let found = control_plane(source, &ConfigPath::root(), server);
        let commands = match found.map_err(|error| error.message) {
            Ok(Found::Aggregated(control_plane)) => Ok(aggregated(&control_plane, server)),
            Ok(Found::Own(control_plane)) => own(&control_plane, &delivery, server),
            Err(message) => Err(message),
        };
        match commands {
            Ok(commands) => {
                let id = LAST.fetch_add(1, Ordering::Relaxed);
                // Without a client that runs, the process is about to end.
                let _ = commands.send(Command::Subscribe(id, delivery));
                Box::new(OnStream { id, commands })
            }
            Err(message) => {
                tracing::error!(target: "config", "{message}");
                delivery.fail(message);
                Box::new(Nowhere)
            }
        }
    }
}

/// Which stream a subscription belongs on.
enum Found {
    Aggregated(ControlPlane),
    Own(ControlPlane),
}

fn control_plane(
    source: &ConfigSource,
    path: &ConfigPath,
    server: &Arc<ServerContext>,
) -> Result<Found, BuildError> {
    if let Some(message) = &source.api_config_source {
        return read(message, Purpose::OneSubscription, server).map(Found::Own);
    }
    let Some(ads) = server.singletons.get::<AggregatedSource>() else {
        let message = "there is no `ads_config` in `dynamic_resources` that says which control plane this is";
        return Err(BuildError::at(path.field("ads"), message));
    };
    // Every cluster may ask, and the answer is always the same.
    if let Some(known) = server.singletons.get::<AggregatedControlPlane>() {
        return Ok(Found::Aggregated(known.0.clone()));
    }
    let control_plane = read(&ads.0, Purpose::Everything, server)?;
    server.singletons.insert(Arc::new(AggregatedControlPlane(control_plane.clone())));
    Ok(Found::Aggregated(control_plane))
}

/// What `ads_config` says, once it was read.
struct AggregatedControlPlane(ControlPlane);

/// The one stream of all that say `ads`.
struct Aggregated(UnboundedSender<Command>);

fn aggregated(control_plane: &ControlPlane, server: &Arc<ServerContext>) -> UnboundedSender<Command> {
    if let Some(stream) = server.singletons.get::<Aggregated>() {
        return stream.0.clone();
    }
    // Only the main thread subscribes, so no other can open it meanwhile.
    let method = aggregated_method(control_plane.protocol());
    let commands = open(control_plane, &method, server, server.stats.clone());
    server.singletons.insert(Arc::new(Aggregated(commands.clone())));
    commands
}

/// A stream for one subscription.
fn own(
    control_plane: &ControlPlane,
    delivery: &Delivery,
    server: &Arc<ServerContext>,
) -> Result<UnboundedSender<Command>, String> {
    let name = delivery.type_name();
    let method = method_of(name, control_plane.protocol())
        .ok_or_else(|| format!("there is no discovery service for {name} of its own; use ads"))?;
    Ok(open(control_plane, &method, server, delivery.scope().clone()))
}

fn open(
    control_plane: &ControlPlane,
    method: &str,
    server: &Arc<ServerContext>,
    scope: Scope,
) -> UnboundedSender<Command> {
    let (commands, receiver) = unbounded_channel();
    let settings = Settings {
        target: Arc::new(control_plane.target(method)),
        protocol: control_plane.protocol(),
        backoff: control_plane.backoff(),
        rate_limit: control_plane.rate_limit(),
        node: node(server),
        node_on_first_message_only: control_plane.node_on_first_message_only,
        scope,
    };
    Client::of(server).open(settings, receiver);
    commands
}

struct OnStream {
    id: SubscriptionId,
    commands: UnboundedSender<Command>,
}

impl Subscription for OnStream {
    fn set_names(&self, names: &[Arc<str>]) {
        let _ = self.commands.send(Command::SetNames(self.id, names.to_vec()));
    }
}

impl Drop for OnStream {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Unsubscribe(self.id));
    }
}

struct Nowhere;

impl Subscription for Nowhere {}
