//! The part of the client that lives on the main thread: it opens the streams that sources ask for.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use underpass_core::{main_thread::MainThreadService, server::ServerContext, worker::Worker};

use crate::stream::{Command, Settings, Stream};

inventory::submit! {
    MainThreadService { name: "the client of control planes", start }
}

/// Orders for streams. Anybody may give them; they are carried out on the main thread.
pub(crate) struct Client {
    orders: UnboundedSender<Order>,
    /// Until the main thread takes it.
    receiver: Mutex<Option<UnboundedReceiver<Order>>>,
}

struct Order {
    settings: Settings,
    commands: UnboundedReceiver<Command>,
}

impl Client {
    /// That of the process.
    pub(crate) fn of(server: &Arc<ServerContext>) -> Arc<Self> {
        server.singletons.get_or_insert_with(|| {
            let (orders, receiver) = unbounded_channel();
            Self { orders, receiver: Mutex::new(Some(receiver)) }
        })
    }

    /// Opens a stream, which lasts until nobody can send commands any more.
    pub(crate) fn open(&self, settings: Settings, commands: UnboundedReceiver<Command>) {
        // Nobody carries it out any more only if the process ends.
        let _ = self.orders.send(Order { settings, commands });
    }
}

fn start(worker: &Rc<Worker>) {
    let receiver = Client::of(worker.server()).receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut orders) = receiver else { return };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        while let Some(Order { settings, commands }) = orders.recv().await {
            tokio::task::spawn_local(Stream::new(&worker, settings, commands).run());
        }
    });
}
