//! One request and its answer, as every HTTP filter sees them.

use std::{
    any::Any,
    cell::{Cell, Ref, RefCell, RefMut},
    rc::Rc,
    sync::Arc,
};

use underpass_core::{drain::DrainWatch, stream_info::SharedStreamInfo, worker::Worker};

use crate::{
    head::RequestHead,
    local_reply::LocalReplies,
    route::{Route, RouteTable},
};

/// The downstream connection that carries a stream.
pub struct HttpConnection {
    /// What is known of the connection.
    pub info: SharedStreamInfo,
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// Tells when its listener drains.
    pub drain: DrainWatch,
    /// How many bytes it may buffer.
    pub buffer_limit: usize,
}

/// One request and its answer.
pub struct HttpStream {
    /// What is known of it. It starts with what is known of the connection.
    pub info: SharedStreamInfo,
    /// The connection.
    pub connection: Rc<HttpConnection>,
    request: RefCell<RequestHead>,
    /// The type of an upgrade that the connection manager allows: `CONNECT`, `websocket`; none for a usual request.
    upgrade: RefCell<Option<Arc<str>>>,
    close_after_answer: Cell<bool>,
    routes: RefCell<Option<Arc<RouteTable>>>,
    /// The route, once somebody has asked for it.
    route: RefCell<RouteCache>,
    scheme_matches_upstream: Cell<bool>,
    /// What this proxy's own answers look like.
    local_replies: RefCell<Option<Arc<LocalReplies>>>,
    /// What decides between routes where chance does; the same for the stream's whole life.
    random: u64,
}

/// What is known of a request's route.
#[derive(Default)]
enum RouteCache {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// This is it, or there is none.
    Known(Option<Arc<Route>>),
}

impl HttpStream {
    /// A stream at its beginning.
    pub fn new(connection: Rc<HttpConnection>, info: SharedStreamInfo, request: RequestHead) -> Self {
        Self {
            info,
            connection,
            request: RefCell::new(request),
            upgrade: RefCell::default(),
            close_after_answer: Cell::default(),
            routes: RefCell::default(),
            route: RefCell::default(),
            scheme_matches_upstream: Cell::default(),
            local_replies: RefCell::default(),
            random: fastrand::u64(..),
        }
    }

    /// The request's head, as the filters before left it. Do not hold it across an await.
    pub fn request(&self) -> Ref<'_, RequestHead> {
        self.request.borrow()
    }

    /// The same, to change it.
    pub fn request_mut(&self) -> RefMut<'_, RequestHead> {
        self.request.borrow_mut()
    }

    /// The worker.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    /// The upgrade that the request asks for and may have: `CONNECT`, `websocket`.
    pub fn upgrade(&self) -> Option<Arc<str>> {
        self.upgrade.borrow().clone()
    }

    /// For the connection manager: the request is an upgrade of this type, and may be.
    pub fn allow_upgrade(&self, kind: Arc<str>) {
        *self.upgrade.borrow_mut() = Some(kind);
    }

    /// For the connection manager: the routes that count for this stream.
    pub fn set_routes(&self, routes: Arc<RouteTable>) {
        *self.routes.borrow_mut() = Some(routes);
        self.clear_route_cache();
    }

    /// The routes that count for this stream.
    pub fn routes(&self) -> Option<Arc<RouteTable>> {
        self.routes.borrow().clone()
    }

    /// The route of the request. It is found once, by the request as it is at the first call, and noted in the stream's info.
    pub fn route(&self) -> Option<Arc<Route>> {
        if let RouteCache::Known(route) = &*self.route.borrow() {
            return route.clone();
        }
        let routes = self.routes.borrow();
        let route = routes.as_ref().and_then(|it| it.route(&self.request.borrow(), &self.info, self.random));
        *self.info.details.route_name.borrow_mut() =
            route.as_ref().filter(|route| !route.name.is_empty()).map(|route| Arc::clone(&route.name));
        *self.info.details.route_metadata.borrow_mut() =
            route.as_ref().and_then(|route| route.metadata.clone());
        *self.info.details.virtual_host_metadata.borrow_mut() =
            route.as_ref().and_then(|route| route.virtual_host.metadata.clone());
        *self.route.borrow_mut() = RouteCache::Known(route.clone());
        route
    }

    /// Notes the cluster of the route in the stream's info, for the log of a request that never came to the router. It needs no
    /// answer of its own where the route or its cluster is not there.
    pub fn note_cluster(&self) {
        if self.info.upstream.cluster.borrow().is_some() {
            return;
        }
        let route = self.route.borrow();
        let RouteCache::Known(Some(route)) = &*route else { return };
        let head = self.request.borrow();
        let name = route.forward().and_then(|forward| forward.cluster(&head));
        let cluster = name.and_then(|name| self.worker().cluster_manager()?.cluster(name));
        *self.info.upstream.cluster.borrow_mut() = cluster.map(|cluster| Arc::clone(cluster.info()));
    }

    /// Lets the next [`route`](Self::route) look again: for filters that changed what routes go by.
    pub fn clear_route_cache(&self) {
        *self.route.borrow_mut() = RouteCache::Unknown;
    }

    /// What the route says to a filter, by its name in the chain; of several levels, the most specific one.
    pub fn route_config<T: Any + Send + Sync>(&self, filter: &str) -> Option<Arc<T>> {
        self.route()?.filter_configs.get(filter)
    }

    /// What all levels of the route say to a filter, from the least specific one to the most specific one.
    pub fn route_configs<T: Any + Send + Sync>(&self, filter: &str) -> Vec<Arc<T>> {
        self.route().map_or_else(Vec::new, |route| route.filter_configs.all(filter).collect())
    }

    /// For the connection manager: upstream, the request's scheme tells whether that connection is encrypted.
    pub fn match_scheme_to_upstream(&self) {
        self.scheme_matches_upstream.set(true);
    }

    /// Whether the router has to set the scheme to what the upstream connection is.
    pub fn scheme_matches_upstream(&self) -> bool {
        self.scheme_matches_upstream.get()
    }

    /// For the connection manager: what this proxy's own answers to the request look like.
    pub fn set_local_replies(&self, replies: Arc<LocalReplies>) {
        *self.local_replies.borrow_mut() = Some(replies);
    }

    /// What this proxy's own answers to the request look like, if the configuration says.
    pub fn local_replies(&self) -> Option<Arc<LocalReplies>> {
        self.local_replies.borrow().clone()
    }

    /// Asks the connection manager to close an HTTP/1 connection after the answer.
    pub fn close_after_answer(&self) {
        self.close_after_answer.set(true);
    }

    /// Whether somebody asked for that.
    pub fn closes_after_answer(&self) -> bool {
        self.close_after_answer.get()
    }
}
